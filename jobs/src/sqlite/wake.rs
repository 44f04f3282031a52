//! Wake-ups of waiting consumers: writes of this handle at once, writes of other processes by a cheap poll.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError, Weak},
    time::Duration,
};

use sqlx::{Row, Sqlite, pool::PoolConnection};
use tokio::sync::watch;

use super::SqliteQueue;
use crate::engine::Interrupt;

/// Interval of polling for writes of other processes; the latency of a publish from one of them.
const POLL_EVERY: Duration = Duration::from_millis(100);

/// One wake-up channel per queue. A watch channel rather than a `Notify`: a consumer that was busy at the time still
/// sees the wake-up.
#[derive(Default)]
pub(super) struct Wakes {
    bells: Mutex<HashMap<String, watch::Sender<()>>>,
}

impl Wakes {
    pub(super) fn subscribe(&self, queue: &str) -> watch::Receiver<()> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.entry(queue.to_owned()).or_default().subscribe()
    }

    pub(super) fn wake(&self, queue: &str) {
        if let Some(bell) = self.bells.lock().unwrap_or_else(PoisonError::into_inner).get(queue) {
            bell.send_replace(());
        }
    }

    pub(super) fn wake_all(&self) {
        for bell in self.bells.lock().unwrap_or_else(PoisonError::into_inner).values() {
            bell.send_replace(());
        }
    }
}

/// Wakes the consumers of a handle after a write of any connection but the poll's own, until the handle is dropped.
pub(super) async fn watch_other_writers(handle: Weak<SqliteQueue>) {
    let mut seen = None;
    let mut connection = None;
    let mut ticks = tokio::time::interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = handle.upgrade() else { return };
        if inner.live_consumers().is_empty() {
            continue;
        }
        match poll(&inner, &mut connection).await {
            Ok(version) if seen.replace(version) == Some(version) => {}
            Ok(_) => {
                inner.wakes.wake_all();
                // A failure here also shows in the consumers' own exchanges, which report it.
                if fire_cancel_requests(&inner).await.is_err() {
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
async fn poll(inner: &SqliteQueue, held: &mut Option<PoolConnection<Sqlite>>) -> Result<i64, sqlx::Error> {
    let connection = match held {
        Some(connection) => connection,
        None => held.insert(inner.database.readers().acquire().await?),
    };
    sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut **connection).await
}

/// Fires cancel requests of other processes, which are stored in the rows.
async fn fire_cancel_requests(inner: &SqliteQueue) -> Result<(), sqlx::Error> {
    let asked = sqlx::query("SELECT sequence, fence FROM jobs WHERE cancel_requested IS NOT NULL")
        .fetch_all(inner.database.readers())
        .await?;
    for consumer in inner.live_consumers() {
        for row in &asked {
            consumer.fire(row.try_get("sequence")?, row.try_get("fence")?, Interrupt::Cancelled);
        }
    }
    Ok(())
}
