//! The state of one run on its way through the layers.

use std::sync::Arc;

use base::{Ambient, Timestamp};
use tokio::time::Instant;

use crate::{
    engine::{Delivery, JobSignal, Receipt},
    envelope::Envelope,
    registry::{Policy, Registry, RunFn},
};

/// Data of a run for layers, acknowledgement and records, independent of the environment type.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) receipt: Receipt,
    pub(crate) signal: JobSignal,
    pub(crate) policy: Policy,
    pub(crate) started_at: Timestamp,
    pub(crate) started: Instant,
}

impl Run {
    /// Number of this attempt, from 1.
    pub(crate) fn attempt(&self) -> u32 {
        self.envelope.attempt.saturating_add(1)
    }

    /// Whether this is the last attempt allowed.
    pub(crate) fn is_last_attempt(&self) -> bool {
        self.attempt() >= self.envelope.max_attempts
    }
}

/// The apalis task argument: a run and the function of its kind, if this process has registered it.
pub(crate) struct Work<E> {
    pub(crate) run: Arc<Run>,
    pub(crate) handler: Option<RunFn<E>>,
}

impl<E: Clone + Send + Sync + 'static> Work<E> {
    /// Starts a run now.
    pub(crate) fn start(delivery: Delivery, registry: &Registry<E>, ambient: &Ambient) -> Self {
        let entry = registry.entry(&delivery.envelope.kind);
        let run = Run {
            envelope: delivery.envelope,
            receipt: delivery.receipt,
            signal: delivery.signal,
            policy: entry.map_or(Policy::OF_UNKNOWN, |entry| entry.policy),
            started_at: ambient.now(),
            started: Instant::now(),
        };
        Self { run: Arc::new(run), handler: entry.map(|entry| entry.run) }
    }
}
