//! Cancels orders that nobody paid in time, drops what has expired (idempotency records, the attempt log, old partitions) and makes the coming partitions.
//! Rows go in small slices, so that orders never wait long. Several schedulers may run: each step may be repeated.

use std::{sync::Arc, time::Duration};

use base::{Ambient, Timestamp};
use jobs::records::RecordStore;
use store::{
    OrderStore,
    partitions::{Family, Partitions},
};
use tokio_util::sync::CancellationToken;

/// How often.
const EVERY: Duration = Duration::from_mins(10);
/// How often stale orders are looked for, by an index of the open ones.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);
/// Rows per transaction.
const SLICE: u32 = 500;
/// An idempotency key is remembered this long, as the API guide publishes.
const IDEMPOTENCY_KEEP: Duration = Duration::from_hours(24);
/// Months whose partitions are made ahead: a scheduler may be away for weeks.
const MONTHS_AHEAD: u32 = 3;
/// A month, for how long to keep; partitions go whole, so a day more or less does not show.
pub(crate) const MONTH: Duration = Duration::from_hours(31 * 24);

/// How long what is kept.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    pub(crate) records: Duration,
    /// Months by family; zero keeps for good.
    pub(crate) partitions: [(Family, u32); 3],
}

/// What the house is kept with.
pub(crate) struct Housekeeping {
    pub(crate) orders: Arc<dyn OrderStore>,
    pub(crate) records: Arc<dyn RecordStore>,
    pub(crate) partitions: Option<Arc<dyn Partitions>>,
    pub(crate) keep: Keep,
    /// After so long without a payment an order is cancelled.
    pub(crate) pending_expires: Option<Duration>,
    pub(crate) ambient: Ambient,
}

impl Housekeeping {
    /// Runs until stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let (mut tick, mut orders) = (tokio::time::interval(EVERY), tokio::time::interval(EXPIRE_EVERY));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = orders.tick() => {
                    self.stale_orders(&stop).await;
                    continue;
                }
                _ = tick.tick() => {}
            }
            self.rows(&stop).await;
            if let Some(partitions) = &self.partitions {
                self.months(partitions.as_ref()).await;
            }
        }
    }

    /// Orders that wait for a payment that does not come keep stock from others.
    async fn stale_orders(&self, stop: &CancellationToken) {
        let Some(expires) = self.pending_expires else { return };
        let before = self.before(expires);
        let expire = || self.orders.expire_pending(before, SLICE, self.ambient.now());
        match slices(stop, expire).await {
            Ok(0) => {}
            Ok(orders) => tracing::info!(orders, "cancelled orders that nobody paid in time"),
            Err(error) => tracing::warn!(error, "cannot cancel stale orders; trying again later"),
        }
    }

    async fn rows(&self, stop: &CancellationToken) {
        let (keys_before, attempts_before) = (self.before(IDEMPOTENCY_KEEP), self.before(self.keep.records));
        let keys = slices(stop, || self.orders.expire_idempotency(keys_before, SLICE)).await;
        let attempts = slices(stop, || self.records.expire(attempts_before, SLICE)).await;
        match (keys, attempts) {
            (Ok(0), Ok(0)) => {}
            (Ok(keys), Ok(attempts)) => tracing::info!(keys, attempts, "dropped expired records"),
            (keys, attempts) => {
                let error = keys.err().or(attempts.err());
                tracing::warn!(error, "cannot drop expired records; trying again later");
            }
        }
    }

    async fn months(&self, partitions: &dyn Partitions) {
        match partitions.create_partitions(self.ambient.now(), MONTHS_AHEAD).await {
            Ok(tables) if tables.is_empty() => {}
            Ok(tables) => tracing::info!(?tables, "made partitions"),
            Err(error) => tracing::warn!(%error, "cannot make partitions; trying again later"),
        }
        for (family, months) in self.keep.partitions.iter().filter(|(_, months)| *months > 0) {
            match partitions.drop_partitions(*family, self.before(MONTH * *months)).await {
                Ok(dropped) if dropped.tables.is_empty() => {}
                Ok(dropped) => tracing::info!(?dropped, "dropped expired partitions"),
                Err(error) => tracing::warn!(%error, ?family, "cannot drop partitions; trying again later"),
            }
        }
    }

    fn before(&self, keep: Duration) -> Timestamp {
        self.ambient.now().checked_sub(keep).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

async fn slices<F, E>(stop: &CancellationToken, drop_some: impl Fn() -> F) -> Result<u64, String>
where
    F: Future<Output = Result<u64, E>>,
    E: std::fmt::Display,
{
    let mut total = 0;
    while !stop.is_cancelled() {
        let dropped = drop_some().await.map_err(|error| error.to_string())?;
        total += dropped;
        if dropped < u64::from(SLICE) {
            break;
        }
    }
    Ok(total)
}
