//! Numbers of events by kind.

use store::domain::EventKind;

/// A number for each kind of event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts([u64; EventKind::ALL.len()]);

impl EventCounts {
    pub fn of(&self, kind: EventKind) -> u64 {
        let all = EventKind::ALL.into_iter().zip(self.0);
        all.filter(|(its, _)| *its == kind).map(|(_, count)| count).sum()
    }

    pub(crate) fn add(&mut self, kind: EventKind) {
        for (its, count) in EventKind::ALL.into_iter().zip(&mut self.0) {
            *count += u64::from(its == kind);
        }
    }

    pub(crate) fn add_all(&mut self, more: &Self) {
        for (count, more) in self.0.iter_mut().zip(more.0) {
            *count += more;
        }
    }
}
