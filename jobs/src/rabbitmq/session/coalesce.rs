//! Lets deliveries gather when they come fast.
//!
//! The connection's thread announces each delivery as it is read. A session that answers each at once spends most of
//! its time on being woken; one that looks a thousand times a second takes dozens at a time, which at full speed is a
//! fifth less work for each job. Guarantees: no delivery waits at all below 8,000 a second; none waits for longer than
//! a tick of the runtime's clock beyond [`GATHER`]; and a consumer whose prefetch is soon used up never waits.

use std::time::Duration;

use tokio::time::Instant;

/// How long deliveries gather.
const GATHER: Duration = Duration::from_millis(1);
/// Deliveries are counted for so long, and so many are fast.
const WINDOW: Duration = Duration::from_millis(4);
const FAST: usize = 32;

/// How fast deliveries come.
pub(super) struct Coalescer {
    since: Instant,
    count: usize,
    /// No more than these within a window, or the broker might be waiting for us.
    most: usize,
    rests_until: Option<Instant>,
}

impl Coalescer {
    pub(super) fn new(prefetch: u16, now: Instant) -> Self {
        Self { since: now, count: 0, most: usize::from(prefetch / 2), rests_until: None }
    }

    /// When to look for deliveries again, unless at once.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    pub(super) fn rested(&mut self) {
        self.rests_until = None;
    }

    /// So many have just been taken.
    pub(super) fn took(&mut self, deliveries: usize, now: Instant) {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.count) = (now, 0);
        }
        self.count += deliveries;
        self.rests_until = (FAST..=self.most).contains(&self.count).then(|| now + GATHER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_flood_that_leaves_room_gathers() {
        let start = Instant::now();
        let mut pace = Coalescer::new(640, start);
        pace.took(FAST - 1, start);
        assert_eq!(pace.rests_until(), None);
        pace.took(1, start);
        assert_eq!(pace.rests_until(), Some(start + GATHER));
        pace.rested();
        pace.took(1, start + WINDOW);
        assert_eq!(pace.rests_until(), None, "a new window");
        pace.took(400, start + WINDOW);
        assert_eq!(pace.rests_until(), None, "most of the prefetch is here");
        let mut narrow = Coalescer::new(40, start);
        narrow.took(FAST, start);
        assert_eq!(narrow.rests_until(), None);
    }
}
