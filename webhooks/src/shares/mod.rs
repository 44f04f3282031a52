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

mod limits;
mod state;

use std::{sync::Arc, time::Duration};

use base::Ambient;
use parking_lot::Mutex;
use tokio::time::Instant;

pub use self::{
    limits::{FAILURES_MAX, Message, REST_MAX, ShareLimits, Wait},
    state::ShareKey,
};
use self::{
    limits::{TURN_MAX, TURN_MIN, WAIT_MAX, rest_of},
    state::{Pause, PostSlot, SharesState},
};
use crate::{answer::Answer, sender::TOTAL_TIMEOUT};

/// Slot accounting of the posts of a process, by ids of merchants and of endpoints.
pub struct Shares<M: ShareKey, E: ShareKey> {
    limits: ShareLimits,
    ambient: Ambient,
    state: Mutex<SharesState<M, E>>,
}

/// Permission for one post; on drop it frees its slots. Dropped without [`Permit::settle`], it leaves the endpoint's
/// record unchanged.
pub struct Permit<M: ShareKey, E: ShareKey> {
    shares: Arc<Shares<M, E>>,
    slot: PostSlot<M, E>,
    began: Instant,
    settled: bool,
}

impl<M: ShareKey, E: ShareKey> Shares<M, E> {
    pub fn new(limits: ShareLimits, ambient: Ambient) -> Arc<Self> {
        Arc::new(Self { limits, ambient, state: Mutex::default() })
    }

    pub fn enter(self: &Arc<Self>, merchant: M, endpoint: E, message: Message) -> Result<Permit<M, E>, Wait> {
        let began = Instant::now();
        let mut state = self.state.lock();
        if let Some(pause) = state.rest(endpoint, began) {
            return Err(Wait::Rest(self.until_probe(&mut state, endpoint, &pause, message.age)));
        }
        let slow = !message.first || state.is_slow(endpoint, began);
        let slot = PostSlot { merchant, endpoint, slow };
        if !state.begin(slot, &self.limits, began) {
            return Err(Wait::Turn(self.turn(&mut state, slot, message.age)));
        }
        Ok(Permit { shares: Arc::clone(self), slot, began, settled: false })
    }

    fn turn(&self, state: &mut SharesState<M, E>, slot: PostSlot<M, E>, age: Duration) -> Duration {
        match state.turn(slot, &self.limits, Instant::now()) {
            Some(wait) => wait.max(TURN_MIN) + self.ambient.jitter(TURN_MIN),
            None => self.later_half(age.clamp(TURN_MAX, WAIT_MAX)),
        }
    }

    /// The wait of a message to a paused endpoint. One message returns soon after the pause, to be the probe.
    fn until_probe(
        &self,
        state: &mut SharesState<M, E>,
        endpoint: E,
        pause: &Pause,
        age: Duration,
    ) -> Duration {
        let wait = pause.left + TURN_MIN + self.ambient.jitter(pause.whole);
        if state.takes_probe(endpoint, Instant::now(), wait) {
            return wait;
        }
        wait.max(self.later_half(age.min(WAIT_MAX)))
    }

    /// A random duration from the upper half of `whole`.
    fn later_half(&self, whole: Duration) -> Duration {
        whole / 2 + self.ambient.jitter(whole / 2)
    }
}

impl<M: ShareKey, E: ShareKey> Permit<M, E> {
    pub fn timeout(&self) -> Duration {
        if self.slot.slow { TOTAL_TIMEOUT } else { self.shares.limits.quick.min(TOTAL_TIMEOUT) }
    }

    /// Records the result of the post and frees its slots.
    pub fn settle(mut self, answer: &Answer) {
        self.settled = true;
        let (now, endpoint) = (Instant::now(), self.slot.endpoint);
        let took = now.saturating_duration_since(self.began);
        let timed_out = answer.error == Some("timeout") || took >= self.shares.limits.quick;
        let mut state = self.shares.state.lock();
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
            record.rests_until = now + self.shares.later_half(rest_of(record.failures));
        }
        state.end(self.slot, Some(took), now);
    }
}

impl<M: ShareKey, E: ShareKey> Drop for Permit<M, E> {
    fn drop(&mut self) {
        if !self.settled {
            self.shares.state.lock().end(self.slot, None, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
