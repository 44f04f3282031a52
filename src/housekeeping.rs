//! Drops what has expired: idempotency records and the attempt log. In small slices, so that orders never wait long.

use std::{sync::Arc, time::Duration};

use base::{Ambient, Timestamp};
use jobs::records::RecordStore;
use store::OrderStore;
use tokio_util::sync::CancellationToken;

/// How often.
const EVERY: Duration = Duration::from_mins(10);
/// Rows per transaction.
const SLICE: u32 = 500;
/// An idempotency key is remembered this long, as the API guide publishes.
const IDEMPOTENCY_KEEP: Duration = Duration::from_hours(24);

/// Runs until stopped.
pub(crate) async fn run(
    orders: Arc<dyn OrderStore>,
    records: Arc<dyn RecordStore>,
    keep_records: Duration,
    ambient: Ambient,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let before = |keep| ambient.now().checked_sub(keep).unwrap_or(Timestamp::UNIX_EPOCH);
        let keys = slices(&stop, || orders.expire_idempotency(before(IDEMPOTENCY_KEEP), SLICE)).await;
        let attempts = slices(&stop, || records.expire(before(keep_records), SLICE)).await;
        match (keys, attempts) {
            (Ok(0), Ok(0)) => {}
            (Ok(keys), Ok(attempts)) => tracing::info!(keys, attempts, "dropped expired records"),
            (keys, attempts) => {
                let error = keys.err().or(attempts.err());
                tracing::warn!(error, "cannot drop expired records; trying again later");
            }
        }
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
