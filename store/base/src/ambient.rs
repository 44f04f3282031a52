//! The clock and the source of randomness, passed along instead of called globally.
//!
//! Guarantees: everything drawn from one [`Ambient::steered`] is a function of its seed and of the calls
//! made, so a test replays. Does not do timers: waiting is tokio's business, which tests pause on their own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use uuid::Uuid;

use crate::time::later;

/// Time, ids and randomness. Cheap to clone; clones share one state.
#[derive(Clone)]
pub struct Ambient {
    clock: Arc<dyn Clock>,
    entropy: Arc<Mutex<fastrand::Rng>>,
}

/// Tells the time. [`Ambient::system`] reads the operating system, [`ManualClock`] is set by tests.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

impl Ambient {
    /// The real clock, and randomness seeded by the operating system.
    pub fn system() -> Self {
        Self::new(Arc::new(SystemClock), fastrand::Rng::new())
    }

    /// A clock that stands still until moved and a seeded generator: two runs of one test draw the same.
    pub fn steered(seed: u64, start: Timestamp) -> (Self, ManualClock) {
        let clock = ManualClock(Arc::new(Mutex::new(start)));
        (Self::new(Arc::new(clock.clone()), fastrand::Rng::with_seed(seed)), clock)
    }

    /// Any clock with any generator.
    pub fn new(clock: Arc<dyn Clock>, rng: fastrand::Rng) -> Self {
        Self { clock, entropy: Arc::new(Mutex::new(rng)) }
    }

    /// The present moment, to the millisecond: what is stored reads back equal.
    pub fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// A fresh UUIDv7 (RFC 9562, section 5.7) of this clock and this generator.
    pub fn uuid(&self) -> Uuid {
        let millis = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        let mut tail = [0_u8; 10];
        self.with_rng(|rng| rng.fill(&mut tail));
        uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }

    /// A uniformly drawn duration in `0..=max`, the "full jitter" of retry delays.
    pub fn jitter(&self, max: Duration) -> Duration {
        let max_nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.with_rng(|rng| rng.u64(0..=max_nanos)))
    }

    /// Fills `target` with random bytes. Not for keys and secrets, which come from the operating system.
    pub fn fill(&self, target: &mut [u8]) {
        self.with_rng(|rng| rng.fill(target));
    }

    fn with_rng<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        // A panic while the generator is held cannot leave it half-written: its state is one integer.
        draw(&mut self.entropy.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Ambient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ambient").finish_non_exhaustive()
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the real clock is read")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that moves only when told to.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = later(*now, by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_replays_ids_and_jitter() {
        let draw = |seed| {
            let (ambient, _) = Ambient::steered(seed, Timestamp::UNIX_EPOCH);
            (ambient.uuid(), ambient.jitter(Duration::from_secs(9)))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn ids_are_version_7_and_sort_by_time() {
        let (ambient, clock) = Ambient::steered(1, Timestamp::UNIX_EPOCH);
        let first = ambient.uuid();
        clock.advance(Duration::from_millis(1));
        let second = ambient.uuid();
        assert_eq!(first.get_version_num(), 7);
        assert!(first < second);
    }
}
