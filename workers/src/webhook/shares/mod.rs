//! Shares of the webhook slots: no merchant and no endpoint can hold the slots of others.
//!
//! ```text
//!   delivery ── endpoint paused? ─> wait for the next probe
//!            ── share used up? ───> wait for a turn
//!            ── quick lane: at most `per_merchant` slots, answers within `quick`
//!            └─ slow lane: retries, and endpoints that were slow lately; few slots, the full timeout
//! ```
//!
//! Guarantees: posts of one merchant hold at most `per_merchant` slots, posts to one endpoint `per_endpoint`, posts in
//! the slow lane `slow` over all merchants; an endpoint that failed [`FAILURES_MAX`] times in a row gets one post at a
//! time, a probe, after pauses that grow to [`REST_MAX`]. Memory is bounded; state that was evicted is learned again.
//!
//! Waiting costs bounded work. The turns of one merchant follow each other at the rate of its posts, and one message
//! returns for each probe. The other messages wait for about as long again as they have waited: their returns grow with
//! the logarithm of the time for which an endpoint fails. Returns that grew with its backlog would hold up others in
//! the queue.
//! State is per process: each process learns for itself.

mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::Ambient;
use store::domain::{EndpointId, MerchantId};
use tokio::time::Instant;

use self::state::{Pause, PostPlace, SharesState};
use super::{Answer, TOTAL_TIMEOUT};

/// Failures in a row after which an endpoint is paused.
pub const FAILURES_MAX: u32 = 5;
/// The first pause of an endpoint, doubled with each failed probe.
const REST_MIN: Duration = Duration::from_secs(5);
/// The longest pause: the latest time after which a recovered endpoint is noticed.
pub const REST_MAX: Duration = Duration::from_mins(5);
/// The shortest wait for a turn.
const TURN_MIN: Duration = Duration::from_millis(100);
/// The furthest turn that is assigned.
const TURN_MAX: Duration = Duration::from_mins(5);
/// The longest wait of a message without a turn, however old it is.
const WAIT_MAX: Duration = Duration::from_hours(2);

/// Limits of concurrent posts in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareLimits {
    /// Posts of one merchant.
    pub per_merchant: usize,
    /// Posts to one endpoint.
    pub per_endpoint: usize,
    /// Posts in the slow lane, over all merchants; one merchant has a quarter of its share there.
    pub slow: usize,
    /// Longest time for an answer in the quick lane.
    pub quick: Duration,
}

impl ShareLimits {
    /// Limits for a queue with this many slots: a quarter for one merchant, a quarter for the slow lane, two for one
    /// endpoint.
    pub fn of_slots(slots: usize) -> Self {
        let quarter = (slots / 4).max(1);
        Self { per_merchant: quarter, per_endpoint: 2, slow: quarter, quick: Duration::from_secs(3) }
    }
}

/// Slot accounting of the posts of a process.
pub(super) struct Shares {
    limits: ShareLimits,
    ambient: Ambient,
    state: Mutex<SharesState>,
}

/// The facts about a message that decide its wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Whether no attempt has failed yet.
    pub first: bool,
    /// Time since its publishing.
    pub age: Duration,
}

/// Why a post must wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The endpoint is paused after repeated failures.
    Rest(Duration),
    /// The merchant's share, the endpoint's, or the slow lane is used up.
    Turn(Duration),
}

/// Permission for one post; on drop it frees its slots. Dropped without [`Permit::settle`], it leaves the endpoint's
/// record unchanged.
pub struct Permit {
    shares: Arc<Shares>,
    place: PostPlace,
    began: Instant,
    settled: bool,
}

impl Shares {
    pub(super) fn new(limits: ShareLimits, ambient: Ambient) -> Arc<Self> {
        Arc::new(Self { limits, ambient, state: Mutex::default() })
    }

    /// A permit, or how long to wait.
    pub(super) fn enter(
        self: &Arc<Self>,
        merchant: MerchantId,
        endpoint: EndpointId,
        message: Message,
    ) -> Result<Permit, Wait> {
        let began = Instant::now();
        let mut state = self.state();
        if let Some(pause) = state.rest(endpoint, began) {
            return Err(Wait::Rest(self.until_probe(&mut state, endpoint, &pause, message.age)));
        }
        let slow = !message.first || state.is_slow(endpoint, began);
        let place = PostPlace { merchant, endpoint, slow };
        if !state.begin(place, &self.limits, began) {
            return Err(Wait::Turn(self.turn(&mut state, place, message.age)));
        }
        Ok(Permit { shares: Arc::clone(self), place, began, settled: false })
    }

    fn turn(&self, state: &mut SharesState, place: PostPlace, age: Duration) -> Duration {
        match state.turn(place, &self.limits, Instant::now(), TURN_MAX) {
            Some(wait) => wait.max(TURN_MIN) + self.ambient.jitter(TURN_MIN),
            None => self.later_half(age.clamp(TURN_MAX, WAIT_MAX)),
        }
    }

    /// The wait of a message to a paused endpoint. One message returns soon after the pause, to be the probe.
    fn until_probe(
        &self,
        state: &mut SharesState,
        endpoint: EndpointId,
        pause: &Pause,
        age: Duration,
    ) -> Duration {
        let wait = pause.left + TURN_MIN + self.ambient.jitter(pause.whole);
        if state.takes_probe(endpoint, Instant::now(), wait) {
            return wait;
        }
        wait.max(self.later_half(age.min(WAIT_MAX)))
    }

    /// The jittered pause after this many failures in a row.
    fn rest_after(&self, failures: u32) -> Duration {
        self.later_half(rest_of(failures))
    }

    /// A random duration from the upper half of `whole`.
    fn later_half(&self, whole: Duration) -> Duration {
        whole / 2 + self.ambient.jitter(whole / 2)
    }

    fn state(&self) -> MutexGuard<'_, SharesState> {
        // Every change leaves the state consistent, so a panic while it was locked does not matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The full pause after this many failures in a row; zero below [`FAILURES_MAX`].
fn rest_of(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(FAILURES_MAX) else { return Duration::ZERO };
    REST_MIN.saturating_mul(1 << doublings.min(16)).min(REST_MAX)
}

impl Permit {
    /// Longest time for this post.
    pub(super) fn timeout(&self) -> Duration {
        if self.place.slow { TOTAL_TIMEOUT } else { self.shares.limits.quick.min(TOTAL_TIMEOUT) }
    }

    /// Records the result of the post and frees its slots.
    pub fn settle(mut self, answer: &Answer) {
        self.settled = true;
        let (now, endpoint) = (Instant::now(), self.place.endpoint);
        let took = now.saturating_duration_since(self.began);
        let timed_out = answer.error == Some("timeout") || took >= self.shares.limits.quick;
        let mut state = self.shares.state();
        let record = state.record(endpoint, now);
        if timed_out && !record.slow {
            tracing::info!(endpoint.id = %endpoint, "webhook endpoint slow, using slow lane");
        }
        record.slow = timed_out || (record.slow && answer.status.is_none());
        if answer.error.is_none() {
            if record.failures >= FAILURES_MAX {
                tracing::info!(endpoint.id = %endpoint, "webhook endpoint recovered");
            }
            record.failures = 0;
        } else {
            record.failures = record.failures.saturating_add(1);
            if record.failures == FAILURES_MAX {
                tracing::info!(endpoint.id = %endpoint, code = answer.error, "webhook endpoint paused");
            }
            record.rests_until = now + self.shares.rest_after(record.failures);
        }
        state.end(self.place, Some(took), now);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.settled {
            self.shares.state().end(self.place, None, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
