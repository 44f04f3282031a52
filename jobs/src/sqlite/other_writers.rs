//! Writes of other processes: found by a cheap poll, they wake this handle's consumers and cancel its jobs.

use std::{sync::Weak, time::Duration};

use sqlx::{Row, Sqlite, pool::PoolConnection};

use super::file::QueueFile;
use crate::engine::Interrupt;

/// Interval of polling for writes of other processes; the latency of a publish from one of them.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// Wakes the consumers of a handle after a write of any connection but the poll's own, until the handle is dropped.
pub(super) async fn watch(handle: Weak<QueueFile>) {
    let mut seen = None;
    let mut connection = None;
    let mut ticks = tokio::time::interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(file) = handle.upgrade() else { return };
        if file.live_consumers().is_empty() {
            continue;
        }
        match poll(&file, &mut connection).await {
            Ok(version) if seen.replace(version) == Some(version) => {}
            Ok(_) => {
                file.wakes.wake_all();
                // A failure here also shows in the consumers' own exchanges, which report it.
                if fire_cancel_requests(&file).await.is_err() {
                    seen = None;
                }
            }
            Err(error) => {
                tracing::trace!(error = %error, "queue file poll failed");
                connection = None;
            }
        }
    }
}

/// `PRAGMA data_version` changes when another connection commits; its values are comparable on one connection only.
async fn poll(file: &QueueFile, held: &mut Option<PoolConnection<Sqlite>>) -> Result<i64, sqlx::Error> {
    let connection = match held {
        Some(connection) => connection,
        None => held.insert(file.database.readers().acquire().await?),
    };
    sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut **connection).await
}

/// Fires cancel requests of other processes, which are stored in the rows.
async fn fire_cancel_requests(file: &QueueFile) -> Result<(), sqlx::Error> {
    let asked = sqlx::query("SELECT sequence, fence FROM jobs WHERE cancel_requested IS NOT NULL")
        .fetch_all(file.database.readers())
        .await?;
    for consumer in file.live_consumers() {
        for row in &asked {
            consumer.fire(row.try_get("sequence")?, row.try_get("fence")?, Interrupt::Cancelled);
        }
    }
    Ok(())
}
