//! State of the shares: merchants that post or wait, and endpoints that post or have failed.

use std::{collections::HashMap, fmt::Display, hash::Hash, time::Duration};

use tokio::time::Instant;

use super::limits::{FAILURES_MAX, ShareLimits, TURN_MAX, rest_of};

/// Most endpoints with failures, and most lanes of merchants, that are remembered; about 100 bytes each.
pub(super) const REMEMBERED_MAX: usize = 8192;
/// How long an endpoint stays in the slow lane after its last post.
const REMEMBERED_FOR: Duration = Duration::from_hours(1);
/// Assumed duration of a post in the quick and in the slow lane, before one has ended.
const QUICK_GUESS: Duration = Duration::from_millis(50);
const SLOW_GUESS: Duration = Duration::from_secs(1);

/// An id of a merchant or of an endpoint; its text stands in log messages.
pub trait ShareKey: Copy + Eq + Hash + Display + Send + 'static {}

impl<T: Copy + Eq + Hash + Display + Send + 'static> ShareKey for T {}

/// The merchant, endpoint and lane that a post counts against.
#[derive(Clone, Copy)]
pub(super) struct PostSlot<M, E> {
    pub(super) merchant: M,
    pub(super) endpoint: E,
    pub(super) slow: bool,
}

pub(super) struct SharesState<M, E> {
    /// Posts in the slow lane.
    slow: usize,
    /// By merchant, and whether it is the slow lane.
    lanes: HashMap<(M, bool), MerchantLane>,
    endpoints: HashMap<E, Record>,
}

struct MerchantLane {
    running: usize,
    /// Running average of the duration of posts.
    took: Duration,
    /// The turn assigned last.
    line: Instant,
}

pub(super) struct Record {
    running: usize,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Whether posts timed out lately.
    pub(super) slow: bool,
    pub(super) rests_until: Instant,
    /// When the message that is to be the next probe returns.
    probe_at: Instant,
    touched: Instant,
}

/// A pause between two probes.
pub(super) struct Pause {
    pub(super) left: Duration,
    pub(super) whole: Duration,
}

impl<M, E> Default for SharesState<M, E> {
    fn default() -> Self {
        Self { slow: 0, lanes: HashMap::new(), endpoints: HashMap::new() }
    }
}

impl<M: ShareKey, E: ShareKey> SharesState<M, E> {
    /// The pause of an endpoint that must not be posted to now.
    pub(super) fn rest(&self, endpoint: E, now: Instant) -> Option<Pause> {
        let record = self.endpoints.get(&endpoint).filter(|record| record.failures >= FAILURES_MAX)?;
        let whole = rest_of(record.failures);
        let left = record.rests_until.saturating_duration_since(now);
        (!left.is_zero() || record.running > 0).then_some(Pause { left, whole })
    }

    /// Whether a message that returns after `wait` becomes the next probe: no other message is due before as one.
    pub(super) fn takes_probe(&mut self, endpoint: E, now: Instant, wait: Duration) -> bool {
        let record = self.endpoints.get_mut(&endpoint).filter(|record| record.probe_at <= now);
        record.map(|record| record.probe_at = now + wait).is_some()
    }

    pub(super) fn is_slow(&self, endpoint: E, now: Instant) -> bool {
        self.endpoints.get(&endpoint).is_some_and(|record| {
            record.slow && now.saturating_duration_since(record.touched) < REMEMBERED_FOR
        })
    }

    /// Takes a slot of the merchant, of the endpoint and, for a slow post, of the slow lane; `false` where one of them
    /// has none left.
    pub(super) fn begin(&mut self, slot: PostSlot<M, E>, limits: &ShareLimits, now: Instant) -> bool {
        let running = |slow| self.lanes.get(&(slot.merchant, slow)).map_or(0, |lane| lane.running);
        let of_endpoint = self.endpoints.get(&slot.endpoint).map_or(0, |record| record.running);
        let endpoint_max = if slot.slow { 1 } else { limits.per_endpoint };
        let slow_is_full = slot.slow && (self.slow >= limits.slow || running(true) >= lane_max(limits, true));
        if running(false) + running(true) >= limits.per_merchant
            || of_endpoint >= endpoint_max
            || slow_is_full
        {
            return false;
        }
        self.slow += usize::from(slot.slow);
        self.lanes
            .entry((slot.merchant, slot.slow))
            .or_insert_with(|| MerchantLane::new(slot.slow, now))
            .running += 1;
        self.record(slot.endpoint, now).running += 1;
        true
    }

    /// Frees the slots; `took` is the duration of a post that ended with a result.
    pub(super) fn end(&mut self, slot: PostSlot<M, E>, took: Option<Duration>, now: Instant) {
        self.slow -= usize::from(slot.slow);
        let key = (slot.merchant, slot.slow);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.running -= 1;
            lane.took = took.map_or(lane.took, |took| (lane.took * 3 + took) / 4);
            if lane.running == 0 && lane.line <= now {
                self.lanes.remove(&key);
            }
        }
        let record = self.record(slot.endpoint, now);
        record.running -= 1;
        if record.running == 0 && record.failures == 0 && !record.slow {
            self.endpoints.remove(&slot.endpoint);
        }
        self.forget();
    }

    /// Assigns the next turn of a merchant, one step after the previous one, and returns the wait for it; `None` where
    /// the wait exceeds [`TURN_MAX`] or too many merchants wait.
    pub(super) fn turn(
        &mut self,
        slot: PostSlot<M, E>,
        limits: &ShareLimits,
        now: Instant,
    ) -> Option<Duration> {
        let key = (slot.merchant, slot.slow);
        if self.lanes.len() >= REMEMBERED_MAX && !self.lanes.contains_key(&key) {
            self.lanes.retain(|_, lane| lane.running > 0 || lane.line > now);
            if self.lanes.len() >= REMEMBERED_MAX {
                return None;
            }
        }
        let lane = self.lanes.entry(key).or_insert_with(|| MerchantLane::new(slot.slow, now));
        let slots = u32::try_from(lane_max(limits, slot.slow)).unwrap_or(u32::MAX);
        let at = lane.line.max(now) + lane.took / slots;
        let wait = at.saturating_duration_since(now);
        if wait > TURN_MAX {
            return None;
        }
        lane.line = at;
        Some(wait)
    }

    pub(super) fn record(&mut self, endpoint: E, now: Instant) -> &mut Record {
        let fresh =
            Record { running: 0, failures: 0, slow: false, rests_until: now, probe_at: now, touched: now };
        let record = self.endpoints.entry(endpoint).or_insert(fresh);
        record.touched = now;
        record
    }

    /// Evicts the idle endpoint that was posted to longest ago, where there are too many.
    fn forget(&mut self) {
        if self.endpoints.len() <= REMEMBERED_MAX {
            return;
        }
        let idle = self.endpoints.iter().filter(|(_, record)| record.running == 0);
        let oldest = idle.min_by_key(|(_, record)| record.touched).map(|(id, _)| *id);
        oldest.and_then(|id| self.endpoints.remove(&id));
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.lanes.len(), self.endpoints.len())
    }
}

impl MerchantLane {
    fn new(slow: bool, now: Instant) -> Self {
        Self { running: 0, took: if slow { SLOW_GUESS } else { QUICK_GUESS }, line: now }
    }
}

/// Slots of one merchant in a lane, at least one.
fn lane_max(limits: &ShareLimits, slow: bool) -> usize {
    if slow { (limits.per_merchant / 4).max(1) } else { limits.per_merchant.max(1) }
}
