//! A virtual clock that follows tokio's.

use std::{sync::Arc, time::Duration};

use base::{Ambient, Timestamp, ambient::Clock, time::later};
use tokio::time::Instant;

/// Start of the virtual clock: 2026-01-01T00:00:00Z.
const START: Duration = Duration::from_hours(490_896);

/// An ambient with seeded randomness whose clock follows tokio's timers, so that a paused runtime (`start_paused =
/// true`) skips delays in both.
pub fn virtual_time(seed: u64) -> Ambient {
    Ambient::seeded(Arc::new(TokioClock(Instant::now())), fastrand::Rng::with_seed(seed))
}

struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, START + self.0.elapsed())
    }
}
