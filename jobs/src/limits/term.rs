//! The term of a lease: how long the runs that began under it may go on.
//!
//! Guarantees: a term ends before the store gives its slots away, as it is measured from before the request was sent;
//! one that is over stays over. The monotonic clock decides, and the wall clock beside it: the monotonic one stands
//! still while a machine is suspended. A wall clock that is set forward ends terms early, which costs a repetition; set
//! back it changes nothing.

use std::time::Duration;

use base::{Ambient, Timestamp, time::later};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// A point in time by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Instant,
    wall: Timestamp,
}

impl Moment {
    pub(super) fn now(ambient: &Ambient) -> Self {
        Self { at: Instant::now(), wall: ambient.now() }
    }

    pub(super) fn after(self, span: Duration) -> Self {
        Self { at: self.at + span, wall: later(self.wall, span) }
    }

    pub(super) fn is_past(self, ambient: &Ambient) -> bool {
        Instant::now() >= self.at || ambient.now() >= self.wall
    }
}

/// A lease without a gap: once over, it stays over, and the next lease is another term.
pub(super) struct Term {
    ambient: Ambient,
    end: Mutex<Moment>,
}

impl Term {
    pub(super) fn new(ambient: &Ambient, end: Moment) -> Self {
        Self { ambient: ambient.clone(), end: Mutex::new(end) }
    }

    /// Moves the end, unless the term is over; returns whether it did.
    pub(super) fn extend(&self, end: Moment) -> bool {
        let mut held = self.end.lock();
        let lasts = !held.is_past(&self.ambient);
        if lasts {
            *held = end;
        }
        lasts
    }

    pub(super) fn is_over(&self) -> bool {
        self.end.lock().is_past(&self.ambient)
    }

    /// Returns once the term is over by the monotonic clock.
    pub(super) async fn over(&self) {
        loop {
            let at = self.end.lock().at;
            if self.is_over() {
                return;
            }
            sleep_until(at).await;
        }
    }
}
