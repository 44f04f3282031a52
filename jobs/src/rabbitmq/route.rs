//! Where a job goes: its work queue, a rung of the delay ladder, or the job store.

use base::{Ambient, Timestamp};

use super::{
    Inner,
    ladder::{LADDER_MAX, rung},
    message::{Meta, encode},
    publisher::Outgoing,
    topology::{dead_queue, delay_exchange, work_queue},
};
use crate::{
    engine::{DeadReason, EngineError},
    envelope::Envelope,
    job_store::ScheduledJob,
};

/// The way of one job.
pub(super) enum Route {
    /// To the broker.
    Publish(Outgoing),
    /// To the job store.
    Schedule(ScheduledJob),
}

/// The way of a job that may start at `at`, or now. A delay that began before is carried on.
pub(super) fn route(envelope: &Envelope, mut meta: Meta, at: Option<Timestamp>, ambient: &Ambient) -> Route {
    let now = ambient.now();
    meta.dead = None;
    let routing_key = work_queue(&envelope.queue, envelope.priority);
    let Some(at) = at.filter(|&at| at > now) else {
        (meta.not_before, meta.delayed_at) = (None, None);
        return Route::Publish(Outgoing {
            exchange: String::new(),
            routing_key,
            raw: encode(envelope, &meta),
        });
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
    let began = *meta.delayed_at.get_or_insert(now);
    meta.not_before = Some(at);
    let exchange = delay_exchange(rung(left, at.duration_since(began).unsigned_abs()));
    Route::Publish(Outgoing { exchange, routing_key, raw: encode(envelope, &meta) })
}

/// A job on its way into the dead queue.
pub(super) fn to_dead(envelope: &Envelope, mut meta: Meta, reason: DeadReason, now: Timestamp) -> Outgoing {
    (meta.not_before, meta.delayed_at) = (None, None);
    meta.first_failed_at.get_or_insert(now);
    meta.dead = Some((reason, now));
    let routing_key = dead_queue(&envelope.queue);
    Outgoing { exchange: String::new(), routing_key, raw: encode(envelope, &meta) }
}

impl Inner {
    /// Puts a job where it waits for `at`; durable when this returns.
    pub(super) async fn place(
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
