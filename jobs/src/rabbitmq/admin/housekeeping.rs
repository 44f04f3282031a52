//! The background task of an engine handle: reads pauses and cancel requests of other processes, publishes due
//! scheduled jobs, notes the age of backlogs, deletes expired requests, reservations and notes.

use std::{sync::Weak, time::Duration};

use base::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    engine::EngineError,
    error::describe,
    job_store::{KEYS_EXPIRED_MAX, ScheduledJob},
    rabbitmq::{
        client::RabbitClient,
        publish::route::{Route, route},
        wire::headers::Meta,
    },
};

/// Longest delay until a pause or a cancel request of another process is applied.
const REFRESH_EVERY: Duration = Duration::from_millis(500);
/// Interval of publishing due jobs: how late a scheduled job may be.
const DUE_EVERY: Duration = Duration::from_secs(1);
/// Most scheduled jobs published in one batch.
const DUE_MAX: u32 = 500;
/// Duration of a claim on a scheduled job that is being published.
pub(in crate::rabbitmq) const CLAIM_FOR: Duration = Duration::from_secs(30);
/// Interval of looking how old ready jobs can be.
const OBSERVE_EVERY: Duration = Duration::from_secs(5);
/// Interval of deleting expired requests and notes.
const EXPIRE_EVERY: Duration = Duration::from_mins(10);
/// How long a cancel request waits for the delivery of its job.
const CANCEL_VALID_FOR: Duration = Duration::from_hours(24 * 7);
const NOTE_VALID_FOR: Duration = Duration::from_mins(5);

/// Runs until the engine handle is dropped.
pub(crate) async fn run(inner: Weak<RabbitClient>) {
    let mut tick = interval(REFRESH_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due_at = Instant::now();
    let mut observe_at = Instant::now() + OBSERVE_EVERY;
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
        if Instant::now() >= observe_at {
            observe_at = Instant::now() + OBSERVE_EVERY;
            inner.observe_all().await;
        }
        if Instant::now() >= expire_at {
            expire_at = Instant::now() + EXPIRE_EVERY;
            let now = inner.ambient.now();
            done = done.and(inner.store.expire(now - CANCEL_VALID_FOR, now - NOTE_VALID_FOR).await);
            done = done.and(inner.expire_keys(now).await);
        }
        match done {
            Err(error) if well => {
                tracing::warn!(
                    error = describe(&error),
                    "scheduled jobs and control changes delayed, retrying"
                );
                well = false;
            }
            Ok(()) if !well => {
                tracing::info!("scheduled jobs and control changes resumed");
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

    /// Best effort: while the broker is away, ages are those of the last look.
    async fn observe_all(&self) {
        if self.publisher.trouble().is_some() {
            return;
        }
        let observed = async {
            for queue in self.store.queues().await? {
                self.observe(&queue).await?;
            }
            Ok::<_, EngineError>(())
        };
        if let Err(error) = observed.await {
            tracing::debug!(error = describe(&error), "ages of queues not observed");
        }
    }

    async fn expire_keys(&self, now: Timestamp) -> Result<(), EngineError> {
        while self.store.expire_keys(now).await? >= u64::from(KEYS_EXPIRED_MAX) {}
        Ok(())
    }

    /// Publishes the scheduled jobs that are due.
    pub(in crate::rabbitmq) async fn publish_due(&self) -> Result<(), EngineError> {
        // Claims would expire unused.
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

    /// Publishes claimed jobs, then deletes them: a crash in between publishes them again, under the same ids. Jobs of
    /// fair queues may have to wait for their turn in the store.
    pub(super) async fn move_to_broker(
        &self,
        jobs: Vec<ScheduledJob>,
        at_once: bool,
    ) -> Result<(), EngineError> {
        let claims: Vec<_> = jobs.iter().map(|job| (job.envelope.id, job.claim)).collect();
        let now = self.ambient.now();
        // One that waits for its turn already is to have it now.
        let is_fair = |job: &ScheduledJob| !job.fair && self.fair.is_fair(&job.envelope.queue);
        let (mut fair, plain): (Vec<_>, Vec<_>) = jobs.into_iter().partition(is_fair);
        if at_once {
            for job in &mut fair {
                job.due_at = now;
            }
        }
        let wanted = plain.len();
        let mut outgoing = Vec::with_capacity(wanted);
        for job in plain {
            let at = Some(job.due_at).filter(|_| !at_once);
            let meta = Meta {
                crashes: job.crashes,
                last_error: job.last_error,
                first_failed_at: job.first_failed_at,
                ..Meta::default()
            };
            // If the clock was set back meanwhile, the job is routed to the store again; then it stays there.
            if let Route::Publish(message) = route(&job.envelope, meta, at, &self.ambient) {
                outgoing.push(message);
            }
        }
        if outgoing.len() < wanted || fair.iter().any(|job| job.due_at > now) {
            return Ok(());
        }
        self.publisher.publish(outgoing).await?;
        // Held again, a job has another claim and is not deleted.
        self.publish_fairly(fair).await?;
        self.store.unschedule(&claims).await
    }
}
