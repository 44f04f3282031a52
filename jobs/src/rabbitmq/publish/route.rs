//! Routing of a job: to its work queue, to a rung of the delay ladder, or to the job store.

use base::{Ambient, Timestamp};

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
            topology::{dead_queue, delay_exchange, work_queue},
        },
    },
};

pub(crate) enum Route {
    Publish(Outgoing),
    Schedule(ScheduledJob),
}

/// Routes a job that may start at `at`, or now.
pub(crate) fn route(envelope: &Envelope, mut meta: Meta, at: Option<Timestamp>, ambient: &Ambient) -> Route {
    let now = ambient.now();
    meta.dead = None;
    let routing_key = work_queue(&envelope.queue, envelope.priority);
    let Some(at) = at.filter(|&at| at > now) else {
        meta.end_delay();
        return Route::Publish(Outgoing::to_queue(routing_key, encode(envelope, &meta)));
    };
    let left = at.duration_since(now).unsigned_abs();
    if left > LADDER_MAX {
        return Route::Schedule(ScheduledJob {
            envelope: envelope.clone(),
            due_at: at,
            crashes: meta.crashes,
            last_error: meta.last_error,
            first_failed_at: meta.first_failed_at,
            claim: 0,
        });
    }
    (meta.not_before, meta.delayed_at, meta.left) = (Some(at), Some(now), left);
    Route::Publish(delayed(envelope, meta))
}

/// Message for the next rung of a job whose delay is not over.
///
/// The remaining delay travels with the job, and the broker measures it rung by rung, because the process that sets a
/// delay and the one that receives the job from a rung may have different clocks. When times were compared instead, a
/// worker whose clock was minutes behind delayed every retry it received for that long.
pub(crate) fn delayed(envelope: &Envelope, mut meta: Meta) -> Outgoing {
    let whole = match (meta.not_before, meta.delayed_at) {
        (Some(at), Some(began)) => at.duration_since(began).unsigned_abs(),
        _ => meta.left,
    };
    let rung = rung(meta.left, whole);
    meta.left = meta.left.saturating_sub(RUNGS[rung].1);
    let routing_key = work_queue(&envelope.queue, envelope.priority);
    Outgoing { exchange: delay_exchange(rung), routing_key, raw: encode(envelope, &meta) }
}

/// Message for the dead queue.
pub(crate) fn to_dead(envelope: &Envelope, mut meta: Meta, reason: DeadReason, now: Timestamp) -> Outgoing {
    meta.end_delay();
    meta.first_failed_at.get_or_insert(now);
    meta.dead = Some((reason, now));
    Outgoing::to_queue(dead_queue(&envelope.queue), encode(envelope, &meta))
}

impl RabbitClient {
    /// Routes a job that may start at `at`, or now; durable when this returns.
    pub(crate) async fn requeue(
        &self,
        envelope: &Envelope,
        meta: Meta,
        at: Option<Timestamp>,
    ) -> Result<(), EngineError> {
        match route(envelope, meta, at, &self.ambient) {
            Route::Publish(outgoing) => self.publisher.publish(vec![outgoing]).await,
            Route::Schedule(job) => self.store.schedule(vec![job]).await,
        }
    }
}
