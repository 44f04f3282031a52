//! The clock and the source of randomness, passed along instead of called globally.
//!
//! Guarantees: [`Ambient::system`] draws from generators of cryptographic strength seeded by the operating system, so
//! no id reveals another one (RFC 9562, section 6.9). Request and trace ids, which callers without a key see, come from
//! another generator than all other ids, and secrets from a third. All values drawn from one [`Ambient::steered`] are a
//! function of its seed and of the calls made, so a test replays. Does not provide timers: those are tokio's, which
//! tests pause on their own.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;
use rand::{Rng, RngExt, rngs::StdRng};
use uuid::Uuid;

use crate::time::later;

/// Time, ids and randomness. Cheap to clone; clones share one state.
#[derive(Clone)]
pub struct Ambient {
    clock: Arc<dyn Clock>,
    randomness: Arc<Randomness>,
}

/// The source of randomness. Only the seeded one, of tests and the simulation, is predictable.
enum Randomness {
    /// One generator per [`Stream`].
    System(Box<[Mutex<StdRng>; 3]>),
    Seeded(Mutex<fastrand::Rng>),
}

/// A source of the present time. [`Ambient::system`] reads the operating system, [`ManualClock`] is set by tests.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

impl Ambient {
    /// The real clock, and generators seeded by the operating system.
    pub fn system() -> Self {
        // ChaCha12; fails only where the operating system has no randomness, and then the process must not run.
        let generator = || Mutex::new(rand::make_rng::<StdRng>());
        let randomness = Randomness::System(Box::new([generator(), generator(), generator()]));
        Self { clock: Arc::new(SystemClock), randomness: Arc::new(randomness) }
    }

    /// A clock that stands still until it is advanced, and a seeded generator: two runs of one test draw the same
    /// values.
    pub fn steered(seed: u64, start: Timestamp) -> (Self, ManualClock) {
        let clock = ManualClock(Arc::new(Mutex::new(start)));
        (Self::seeded(Arc::new(clock.clone()), fastrand::Rng::with_seed(seed)), clock)
    }

    /// Any clock with a seeded generator, whose ids and secrets can be predicted: for tests and the simulation.
    pub fn seeded(clock: Arc<dyn Clock>, generator: fastrand::Rng) -> Self {
        Self { clock, randomness: Arc::new(Randomness::Seeded(Mutex::new(generator))) }
    }

    /// The present moment, truncated to the millisecond, so that a stored value reads back equal.
    pub fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    /// A fresh UUIDv7 (RFC 9562, section 5.7) of this clock and this generator. An id, not a capability: its time is no
    /// secret, and ids appear in URLs and logs.
    pub fn uuid(&self) -> Uuid {
        self.uuid_of(Stream::Ids)
    }

    /// As [`Self::uuid`], for ids that are shown to callers without a key, such as request ids.
    pub fn shown_uuid(&self) -> Uuid {
        self.uuid_of(Stream::Shown)
    }

    /// Fills `target` with random bytes that cannot be predicted from the values shown to callers.
    pub fn fill(&self, target: &mut [u8]) {
        self.randomness.fill(Stream::Ids, target);
    }

    /// As [`Self::fill`], for bytes that are shown to callers without a key, such as trace ids.
    pub fn fill_shown(&self, target: &mut [u8]) {
        self.randomness.fill(Stream::Shown, target);
    }

    /// Bytes for tokens, keys and salts.
    pub fn secret<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.randomness.fill(Stream::Secrets, &mut bytes);
        bytes
    }

    /// A uniformly drawn duration in `0..=max`, the "full jitter" of retry delays.
    pub fn jitter(&self, max: Duration) -> Duration {
        let max_nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(match &*self.randomness {
            Randomness::System(generators) => {
                generators[Stream::Shown as usize].lock().random_range(0..=max_nanos)
            }
            Randomness::Seeded(generator) => generator.lock().u64(0..=max_nanos),
        })
    }

    fn uuid_of(&self, stream: Stream) -> Uuid {
        let millis = u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0);
        let mut tail = [0_u8; 10];
        self.randomness.fill(stream, &mut tail);
        uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Ids,
    Shown,
    Secrets,
}

impl Randomness {
    fn fill(&self, stream: Stream, target: &mut [u8]) {
        match self {
            Self::Seeded(generator) => generator.lock().fill(target),
            Self::System(generators) => generators[stream as usize].lock().fill_bytes(target),
        }
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

/// A clock that moves only by [`Self::advance`].
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock();
        *now = later(*now, by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

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

    fn generators() -> [Mutex<StdRng>; 3] {
        [1, 2, 3].map(|seed| Mutex::new(StdRng::from_seed([seed; 32])))
    }

    #[test]
    fn request_ids_leave_the_generators_of_other_ids_and_of_secrets_alone() {
        let mut ambient = Ambient::system();
        ambient.randomness = Arc::new(Randomness::System(Box::new(generators())));
        let (first, trace) = (ambient.shown_uuid(), crate::TraceContext::fresh(&ambient));
        ambient.jitter(Duration::from_secs(1));
        assert_ne!(first, ambient.shown_uuid());
        assert_ne!(trace.trace_id(), crate::TraceContext::fresh(&ambient).trace_id());
        let Randomness::System(after) = &*ambient.randomness else { panic!("not a seeded one") };
        let before = generators();
        let is_same = |stream| *after[stream as usize].lock() == *before[stream as usize].lock();
        assert!(is_same(Stream::Ids) && is_same(Stream::Secrets));
        assert!(!is_same(Stream::Shown));
    }

    #[test]
    fn generators_of_the_system_are_seeded_apart() {
        let (one, other) = (Ambient::system(), Ambient::system());
        let tail = |id: Uuid| id.as_u128() << 64;
        let tails = [one.uuid(), one.shown_uuid(), other.uuid(), other.shown_uuid()].map(tail);
        let distinct: std::collections::BTreeSet<_> = tails.into_iter().collect();
        assert_eq!(distinct.len(), tails.len());
        assert_ne!(one.secret::<32>(), other.secret::<32>());
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
