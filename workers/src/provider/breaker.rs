//! A circuit breaker: a provider that fails is given a rest, and asked again by one call at a time.
//!
//! ```text
//!            enough failures, or one refusal of our credentials
//!   closed ──────────────────────────────────────────────────────> open
//!     ^                                                             │ after a jittered pause that grows with each
//!     │ the probe succeeds                                          v failed probe
//!     └───────────────────────────────────────────────────────── half open ── the probe fails ──> open
//! ```
//!
//! Guarantees: while open no call is let through, half open exactly one; a call that was begun before the last change
//! changes nothing; a call whose future is dropped counts as failed, so that a probe cannot be forgotten. The gate
//! ([`Breaker::gate`]) is shut while open and only then, and opens by itself. Each change is logged once.
//!
//! Counts what the provider does to calls, not what it says about cards: a decline is a success. Does not make calls
//! of its own: a probe is the next call somebody needs, so a provider is never charged with a question nobody asked.
//! Lives in one process: others find out for themselves, which costs them a few calls and no coordination.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use base::Ambient;
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep_until},
};

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it; default 8.
    pub in_a_row: u32,
    /// Of how many latest calls [`BreakerConfig::of_latest`] counts; default 40.
    pub latest: usize,
    /// Failures among the latest calls that open it; default 20.
    pub of_latest: usize,
    /// The first pause, doubled with each probe that fails; default 1 s. A pause is drawn from its upper half.
    pub pause_min: Duration,
    /// The longest pause; default 1 min.
    pub pause_max: Duration,
    /// The pause after our credentials were refused, which people mend; default 10 s.
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

/// What a call says about its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// It works.
    Works,
    /// It does not, for this reason.
    Fails(&'static str),
    /// It refuses our credentials: every call would fail.
    Refuses,
    /// Neither: it answered, but not so that one knew.
    Neither,
}

/// How a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Calls go through.
    Closed,
    /// None does.
    Open {
        /// Why.
        why: &'static str,
    },
    /// One does, to find out.
    HalfOpen {
        /// Why it was open.
        why: &'static str,
    },
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
    /// Set while open.
    until: Option<Instant>,
    /// Whether the probe of the half-open breaker is under way.
    probing: bool,
    /// Raised with each change, so that what was begun before it is told apart.
    changes: u64,
}

/// A call that was let through. Tell it how it went: dropped, it failed.
pub struct Call {
    inner: Arc<BreakerInner>,
    changes: u64,
    settled: bool,
}

impl Breaker {
    /// Closed.
    pub fn new(provider: &'static str, config: BreakerConfig, ambient: Ambient) -> Self {
        let (standing, gate) = (watch::Sender::new(Standing::Closed), watch::Sender::new(true));
        let state = Mutex::new(BreakerState::default());
        Self(Arc::new(BreakerInner { provider, config, ambient, state, standing, gate }))
    }

    /// `false` while open.
    pub fn gate(&self) -> watch::Receiver<bool> {
        self.0.gate.subscribe()
    }

    /// How it stands, now and after each change.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.0.standing.subscribe()
    }

    /// How long to wait, if a call would not be let through.
    pub fn paused(&self) -> Option<Duration> {
        self.0.wait(&self.0.state())
    }

    /// Lets a call through, or says how long to wait.
    pub fn enter(&self) -> Result<Call, Duration> {
        let mut state = self.0.state();
        if let Some(wait) = self.0.wait(&state) {
            return Err(wait);
        }
        state.probing = matches!(*self.0.standing.borrow(), Standing::HalfOpen { .. });
        Ok(Call { inner: Arc::clone(&self.0), changes: state.changes, settled: false })
    }
}

impl Call {
    /// Says how the call went.
    pub fn settle(mut self, verdict: CallOutcome) {
        self.settled = true;
        self.inner.settle(self.changes, verdict);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.settled {
            self.inner.settle(self.changes, CallOutcome::Fails("no answer in time"));
        }
    }
}

impl BreakerInner {
    fn wait(&self, state: &BreakerState) -> Option<Duration> {
        // Not all at once when it opens, and not before it does.
        let spread = || self.config.pause_min + self.ambient.jitter(self.config.pause_min);
        match state.until {
            Some(until) => Some(until.saturating_duration_since(Instant::now()) + spread()),
            None => state.probing.then(spread),
        }
    }

    fn settle(self: &Arc<Self>, changes: u64, verdict: CallOutcome) {
        let mut state = self.state();
        if state.changes != changes {
            return;
        }
        let probe = state.probing;
        match verdict {
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
        tracing::info!(provider = self.provider, "the payment provider works again");
    }

    fn open(self: &Arc<Self>, state: &mut BreakerState, why: &'static str, pause: Duration) {
        if state.pauses == 0 {
            tracing::error!(
                alarm = true,
                provider = self.provider,
                why,
                "the payment provider is given a rest"
            );
        }
        let until = Instant::now() + pause / 2 + self.ambient.jitter(pause / 2);
        let (pauses, changes) = (state.pauses.saturating_add(1), state.changes + 1);
        *state = BreakerState { pauses, changes, until: Some(until), ..BreakerState::default() };
        self.standing.send_replace(Standing::Open { why });
        self.gate.send_replace(false);
        // Without a runtime nobody makes calls any more, and nobody need open it.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(half_open(Arc::downgrade(self), until, why)));
        }
    }

    fn state(&self) -> MutexGuard<'_, BreakerState> {
        // Each change leaves the state whole, so a panic elsewhere does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn half_open(inner: Weak<BreakerInner>, until: Instant, why: &'static str) {
    sleep_until(until).await;
    let Some(inner) = inner.upgrade() else { return };
    let mut state = inner.state();
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
