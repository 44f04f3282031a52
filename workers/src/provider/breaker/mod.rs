//! Circuit breaker of a payment provider: a failing provider gets no calls for a while, then one probe at a time.
//!
//! ```text
//!            enough failures, or one rejection of our credentials
//!   closed ------------------------------------------------------> open
//!     ^                                                             | after a jittered pause that grows with each
//!     | the probe succeeds                                          v failed probe
//!     +--------------------------------------------------------- half open -- the probe fails --> open
//! ```
//!
//! Guarantees: while open no call is let through, while half open exactly one; a call that began before the last change
//! of state changes nothing; a call whose future is dropped counts as failed, so that a probe cannot be lost. The gate
//! ([`Breaker::gate`]) is closed exactly while the breaker is open, and opens by itself. The first opening and the
//! closing are logged once each.
//!
//! Counts failures of calls, not decisions about cards: a decline is a success. Makes no calls of its own: the probe is
//! the next call that a job needs, so the provider never gets a request without a purpose. State is per process: other
//! processes find out for themselves, which costs a few calls and no coordination.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use base::Ambient;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep_until},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Consecutive failures that open it; default 8.
    pub in_a_row: u32,
    /// Number of latest calls in which [`BreakerConfig::of_latest`] counts failures; default 40.
    pub latest: usize,
    /// Failures among the latest calls that open it; default 20.
    pub of_latest: usize,
    /// The first pause, doubled with each probe that fails; default 1 s. A pause is drawn from its upper half.
    pub pause_min: Duration,
    /// The longest pause; default 1 min.
    pub pause_max: Duration,
    /// The pause after rejected credentials, which an operator has to correct; default 10 s.
    pub pause_refused: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            in_a_row: 8,
            latest: 40,
            of_latest: 20,
            pause_min: Duration::from_secs(1),
            pause_max: Duration::from_mins(1),
            pause_refused: Duration::from_secs(10),
        }
    }
}

/// Result of a call as a sign of the health of its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    Works,
    /// The provider fails, for this reason.
    Fails(&'static str),
    /// The provider rejects our credentials: every call would fail.
    Refuses,
    /// The provider answered, but the answer is no sign of health or failure.
    Neither,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// All calls are let through.
    Closed,
    /// No call is let through, for this reason.
    Open { why: &'static str },
    /// One call is let through, as a probe after an opening for this reason.
    HalfOpen { why: &'static str },
}

/// The breaker of one provider. Clones share it.
#[derive(Clone)]
pub struct Breaker(Arc<BreakerInner>);

struct BreakerInner {
    provider: &'static str,
    config: BreakerConfig,
    ambient: Ambient,
    state: Mutex<BreakerState>,
    standing: watch::Sender<Standing>,
    gate: watch::Sender<bool>,
}

#[derive(Default)]
struct BreakerState {
    in_a_row: u32,
    latest: VecDeque<bool>,
    /// Pauses since it was last closed.
    pauses: u32,
    /// End of the pause, while open.
    until: Option<Instant>,
    /// Whether the probe of the half-open breaker is in flight.
    probing: bool,
    /// Incremented with each change, to tell calls that began before it.
    changes: u64,
}

/// A call that was let through. Report its result with [`Call::settle`]; a dropped call counts as failed.
pub struct Call {
    inner: Arc<BreakerInner>,
    changes: u64,
    outcome: CallOutcome,
}

impl Breaker {
    pub fn new(provider: &'static str, config: BreakerConfig, ambient: Ambient) -> Self {
        let (standing, gate) = (watch::Sender::new(Standing::Closed), watch::Sender::new(true));
        let state = Mutex::new(BreakerState::default());
        Self(Arc::new(BreakerInner { provider, config, ambient, state, standing, gate }))
    }

    /// Gate for consumers: `false` while open.
    pub fn gate(&self) -> watch::Receiver<bool> {
        self.0.gate.subscribe()
    }

    /// The state, now and after each change.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.0.standing.subscribe()
    }

    /// How long to wait, where a call would not be let through now.
    pub fn paused(&self) -> Option<Duration> {
        self.0.wait(&self.0.state.lock())
    }

    /// Lets a call through, or returns how long to wait.
    pub fn enter(&self) -> Result<Call, Duration> {
        let mut state = self.0.state.lock();
        if let Some(wait) = self.0.wait(&state) {
            return Err(wait);
        }
        state.probing = matches!(*self.0.standing.borrow(), Standing::HalfOpen { .. });
        let outcome = CallOutcome::Fails("no answer in time");
        Ok(Call { inner: Arc::clone(&self.0), changes: state.changes, outcome })
    }
}

impl Call {
    pub fn settle(mut self, outcome: CallOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.inner.settle(self.changes, self.outcome);
    }
}

impl BreakerInner {
    fn wait(&self, state: &BreakerState) -> Option<Duration> {
        // Spread, so that waiting jobs return neither all at once nor before the breaker opens its gate.
        let spread = || self.config.pause_min + self.ambient.jitter(self.config.pause_min);
        match state.until {
            Some(until) => Some(until.saturating_duration_since(Instant::now()) + spread()),
            None => state.probing.then(spread),
        }
    }

    fn settle(self: &Arc<Self>, changes: u64, outcome: CallOutcome) {
        let mut state = self.state.lock();
        if state.changes != changes {
            return;
        }
        let probe = state.probing;
        match outcome {
            CallOutcome::Works if probe => self.close(&mut state),
            // The next call is the probe.
            CallOutcome::Neither => state.probing = false,
            CallOutcome::Works => state.note(true, self.config.latest),
            CallOutcome::Refuses => {
                self.open(&mut state, "it refuses our credentials", self.config.pause_refused);
            }
            CallOutcome::Fails(why) => {
                state.note(false, self.config.latest);
                let failed = state.latest.iter().filter(|worked| !**worked).count();
                if probe || state.in_a_row >= self.config.in_a_row || failed >= self.config.of_latest {
                    let doublings = state.pauses.min(16);
                    let pause = self.config.pause_min.saturating_mul(1 << doublings);
                    self.open(&mut state, why, pause.min(self.config.pause_max));
                }
            }
        }
    }

    fn close(&self, state: &mut BreakerState) {
        *state = BreakerState { changes: state.changes + 1, ..BreakerState::default() };
        self.standing.send_replace(Standing::Closed);
        tracing::info!(provider = self.provider, "circuit breaker closed");
    }

    fn open(self: &Arc<Self>, state: &mut BreakerState, why: &'static str, pause: Duration) {
        if state.pauses == 0 {
            tracing::error!(alarm = true, provider = self.provider, why, "circuit breaker opened");
        }
        let until = Instant::now() + pause / 2 + self.ambient.jitter(pause / 2);
        let (pauses, changes) = (state.pauses.saturating_add(1), state.changes + 1);
        *state = BreakerState { pauses, changes, until: Some(until), ..BreakerState::default() };
        self.standing.send_replace(Standing::Open { why });
        self.gate.send_replace(false);
        // Without a runtime there are no further calls, so the breaker need not become half open.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(half_open(Arc::downgrade(self), until, why)));
        }
    }
}

async fn half_open(inner: Weak<BreakerInner>, until: Instant, why: &'static str) {
    sleep_until(until).await;
    let Some(inner) = inner.upgrade() else { return };
    let mut state = inner.state.lock();
    state.until = None;
    state.changes += 1;
    inner.standing.send_replace(Standing::HalfOpen { why });
    inner.gate.send_replace(true);
}

impl BreakerState {
    fn note(&mut self, worked: bool, latest: usize) {
        self.in_a_row = if worked { 0 } else { self.in_a_row.saturating_add(1) };
        if self.latest.len() >= latest {
            self.latest.pop_front();
        }
        self.latest.push_back(worked);
    }
}

#[cfg(test)]
mod tests;
