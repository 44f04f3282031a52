//! What runs beside publishing and consuming: pauses and cancel requests of other processes are learnt, scheduled
//! jobs that are due go to the broker, what nobody came for is forgotten.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    RabbitClient,
    message::Meta,
    route::{Route, route},
};
use crate::{engine::EngineError, error::describe, job_store::ScheduledJob};

/// How soon a pause or a cancel request of another process is obeyed.
const REFRESH_EVERY: Duration = Duration::from_millis(500);
/// How late a scheduled job may be.
const DUE_EVERY: Duration = Duration::from_secs(1);
/// Scheduled jobs published in one go.
const DUE_MAX: u32 = 500;
/// How long a scheduled job is left to whoever is publishing it.
pub(super) const CLAIM_FOR: Duration = Duration::from_secs(30);
/// How often to forget.
const EXPIRE_EVERY: Duration = Duration::from_mins(10);
/// How long a cancel request waits for its job to come by.
const CANCEL_VALID_FOR: Duration = Duration::from_hours(24 * 7);
const NOTE_VALID_FOR: Duration = Duration::from_mins(5);

/// Runs until the engine handle is gone.
pub(super) async fn run(inner: Weak<RabbitClient>) {
    let mut tick = interval(REFRESH_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due_at = Instant::now();
    let mut expire_at = Instant::now();
    let mut well = true;
    loop {
        tick.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let mut done = inner.refresh_if_changed().await;
        if Instant::now() >= due_at {
            due_at = Instant::now() + DUE_EVERY;
            done = done.and(inner.publish_due().await);
        }
        if Instant::now() >= expire_at {
            expire_at = Instant::now() + EXPIRE_EVERY;
            let now = inner.ambient.now();
            done = done.and(inner.store.expire(now - CANCEL_VALID_FOR, now - NOTE_VALID_FOR).await);
        }
        match done {
            Err(error) if well => {
                tracing::warn!(
                    error = describe(&error),
                    "scheduled jobs, pauses and cancel requests have to wait"
                );
                well = false;
            }
            Ok(()) if !well => {
                tracing::info!("scheduled jobs, pauses and cancel requests are looked after again");
                well = true;
            }
            _ => {}
        }
    }
}

impl RabbitClient {
    async fn refresh_if_changed(&self) -> Result<(), EngineError> {
        let version = self.store.control_version().await?;
        if version == self.control.borrow().version { Ok(()) } else { self.refresh_control().await }
    }

    /// Reads pauses and cancel requests and tells the consumers of this handle.
    pub(super) async fn refresh_control(&self) -> Result<(), EngineError> {
        let control = Arc::new(self.store.control().await?);
        self.control.send_if_modified(|known| {
            let newer = control.version > known.version;
            if newer {
                *known = control;
            }
            newer
        });
        Ok(())
    }

    async fn publish_due(&self) -> Result<(), EngineError> {
        // Claims would run out unused.
        if self.publisher.trouble().is_some() {
            return Ok(());
        }
        loop {
            let now = self.ambient.now();
            let due = self.store.claim_due(now, now + CLAIM_FOR, DUE_MAX).await?;
            let more = due.len() >= usize::try_from(DUE_MAX).unwrap_or(usize::MAX);
            self.move_to_broker(due, false).await?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Publishes claimed jobs, then deletes them: a crash in between publishes again, under the same ids.
    pub(super) async fn move_to_broker(
        &self,
        jobs: Vec<ScheduledJob>,
        at_once: bool,
    ) -> Result<(), EngineError> {
        let claims: Vec<_> = jobs.iter().map(|job| (job.envelope.id, job.claim)).collect();
        let mut outgoing = Vec::with_capacity(jobs.len());
        for job in jobs {
            let at = Some(job.due_at).filter(|_| !at_once);
            let meta = Meta {
                crashes: job.crashes,
                last_error: job.last_error,
                first_failed_at: job.first_failed_at,
                ..Meta::default()
            };
            // A clock that was set back meanwhile would send it to the store again: it stays there then.
            if let Route::Publish(message) = route(&job.envelope, meta, at, &self.ambient) {
                outgoing.push(message);
            }
        }
        if outgoing.len() < claims.len() {
            return Ok(());
        }
        self.publisher.publish(outgoing).await?;
        self.store.unschedule(&claims).await
    }
}
