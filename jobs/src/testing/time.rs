//! A clock that follows tokio's.

use std::{sync::Arc, time::Duration};

use base::{Ambient, Timestamp, ambient::Clock, time::later};
use tokio::time::Instant;

/// The clock starts here: 2026-01-01T00:00:00Z.
const START: Duration = Duration::from_hours(490_896);

/// An ambient whose clock moves with tokio's timers, so that a paused runtime (`start_paused = true`) skips over
/// delays in both, and with seeded randomness.
pub fn virtual_time(seed: u64) -> Ambient {
    Ambient::seeded(Arc::new(TokioClock(Instant::now())), fastrand::Rng::with_seed(seed))
}

struct TokioClock(Instant);

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, START + self.0.elapsed())
    }
}
