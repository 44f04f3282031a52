//! Drops what has expired (idempotency records, the attempt log, sessions, old partitions) and makes the coming
//! partitions. Rows go in small slices, so that orders never wait long. Several schedulers may run: each step may be repeated.

use std::{sync::Arc, time::Duration};

use base::{Ambient, Timestamp};
use jobs::records::RecordStore;
use store::{
    OrderStore,
    cache::Sessions,
    partitions::{Family, Partitions},
};
use tokio_util::sync::CancellationToken;

/// How often.
const EVERY: Duration = Duration::from_mins(10);
/// Rows per transaction.
const SLICE: u32 = 500;
/// An idempotency key is remembered this long, as the API guide publishes.
const IDEMPOTENCY_KEEP: Duration = Duration::from_hours(24);
/// Months whose partitions are made ahead: a scheduler may be away for weeks.
const MONTHS_AHEAD: u32 = 3;
/// A month, for how long to keep; partitions go whole, so a day more or less does not show.
const MONTH: Duration = Duration::from_hours(31 * 24);

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
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) records: Arc<dyn RecordStore>,
    pub(crate) partitions: Option<Arc<dyn Partitions>>,
    pub(crate) keep: Keep,
    pub(crate) ambient: Ambient,
}

impl Housekeeping {
    /// Runs until stopped.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.rows(&stop).await;
            if let Some(partitions) = &self.partitions {
                self.months(partitions.as_ref()).await;
            }
        }
    }

    async fn rows(&self, stop: &CancellationToken) {
        let (keys_before, attempts_before) = (self.before(IDEMPOTENCY_KEEP), self.before(self.keep.records));
        let keys = slices(stop, || self.orders.expire_idempotency(keys_before, SLICE)).await;
        let attempts = slices(stop, || self.records.expire(attempts_before, SLICE)).await;
        let sessions = slices(stop, || self.sessions.expire(SLICE)).await;
        match (keys, attempts, sessions) {
            (Ok(0), Ok(0), Ok(0)) => {}
            (Ok(keys), Ok(attempts), Ok(sessions)) => {
                tracing::info!(keys, attempts, sessions, "dropped expired records");
            }
            (keys, attempts, sessions) => {
                let error = keys.err().or(attempts.err()).or(sessions.err());
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
