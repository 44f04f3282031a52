//! Routing of a job: to its work queue, to a rung of the delay ladder, or to the job store.
//!
//! The outcome of a run does not wait for the job store: while it is away, a long delay waits on the longest rung, over
//! and over, until the store takes the rest of it.

use std::time::Duration;

use base::{
    Ambient, Timestamp,
    time::{between, later},
};
use tokio::time::timeout;

use super::batch::Outgoing;
use crate::{
    engine::{DeadReason, EngineError},
    envelope::Envelope,
    job_store::ScheduledJob,
    rabbitmq::{
        client::RabbitClient,
        wire::{
            headers::Meta,
            ladder::{LADDER_MAX, RUNGS, rung},
            message::encode,
            topology::{dead_queue, delay_name, work_queue},
        },
    },
};

/// Longest wait of an outcome for the job store.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) enum Route {
    Publish(Outgoing),
    Schedule(ScheduledJob),
}

/// Routes a job that may start at `at`, or now.
///
/// The broker measures a short delay, because the process that sets it and the one that receives the job may have
/// different clocks.
pub(crate) fn route(envelope: &Envelope, mut meta: Meta, at: Option<Timestamp>, ambient: &Ambient) -> Route {
    let now = ambient.now();
    meta.dead = None;
    let routing_key = work_queue(&envelope.queue, envelope.priority);
    let Some(at) = at.filter(|&at| at > now) else {
        meta.end_delay();
        return Route::Publish(Outgoing::to_queue(routing_key, encode(envelope, &meta)));
    };
    let left = between(now, at);
    if left > LADDER_MAX {
        return Route::Schedule(scheduled(envelope, meta, at));
    }
    Route::Publish(on_ladder(envelope, Meta { not_before: Some(at), ..meta }, left))
}

/// A job as the job store keeps it.
pub(crate) fn scheduled(envelope: &Envelope, meta: Meta, due_at: Timestamp) -> ScheduledJob {
    ScheduledJob {
        envelope: envelope.clone(),
        due_at,
        fair: false,
        behind: false,
        crashes: meta.crashes,
        last_error: meta.last_error,
        first_failed_at: meta.first_failed_at,
        claim: 0,
    }
}

/// Message for the rung of a delay. Of one that is longer than the ladder the rest travels with the job, for
/// [`RabbitClient::continue_delay`].
fn on_ladder(envelope: &Envelope, mut meta: Meta, delay: Duration) -> Outgoing {
    let rung = rung(delay);
    meta.dead = None;
    meta.left = delay.saturating_sub(Duration::from_millis(RUNGS[rung]));
    let routing_key = work_queue(&envelope.queue, envelope.priority);
    Outgoing { exchange: delay_name(rung), routing_key, raw: encode(envelope, &meta) }
}

/// Message for the dead queue.
pub(crate) fn to_dead(envelope: &Envelope, mut meta: Meta, reason: DeadReason, now: Timestamp) -> Outgoing {
    meta.end_delay();
    meta.first_failed_at.get_or_insert(now);
    meta.dead = Some((reason, now));
    Outgoing::to_queue(dead_queue(&envelope.queue), encode(envelope, &meta))
}

impl RabbitClient {
    /// Routes a job that may start at `at`, or now; durable when this returns. Needs the broker only.
    pub(crate) async fn requeue(
        &self,
        envelope: &Envelope,
        meta: Meta,
        at: Option<Timestamp>,
    ) -> Result<(), EngineError> {
        let outgoing = match route(envelope, meta.clone(), at, &self.ambient) {
            Route::Publish(outgoing) => outgoing,
            Route::Schedule(job) => {
                let at = job.due_at;
                if self.schedule(job).await {
                    return Ok(());
                }
                let meta = Meta { not_before: Some(at), ..meta };
                on_ladder(envelope, meta, between(self.ambient.now(), at))
            }
        };
        self.publisher.publish(vec![outgoing]).await
    }

    /// Continues a delay that began on the ladder because the job store was away: in the store, where a row that it may
    /// have written after all is replaced, or by another turn on the ladder.
    ///
    /// The rest of the delay is what the broker has not measured yet: the process that set the delay and this one may
    /// have different clocks.
    pub(crate) async fn continue_delay(&self, envelope: &Envelope, meta: Meta) -> Result<(), EngineError> {
        let due_at = later(self.ambient.now(), meta.left);
        if self.schedule(scheduled(envelope, meta.clone(), due_at)).await {
            return Ok(());
        }
        let left = meta.left;
        self.publisher.publish(vec![on_ladder(envelope, meta, left)]).await
    }

    /// Writes a job into the job store; false when that fails or takes too long.
    pub(in crate::rabbitmq) async fn schedule(&self, job: ScheduledJob) -> bool {
        matches!(timeout(STORE_PATIENCE, self.store.schedule(vec![job])).await, Ok(Ok(())))
    }
}
