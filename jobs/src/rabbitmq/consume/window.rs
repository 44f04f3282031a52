//! The deliveries of one channel by delivery tag, and their acknowledgement.
//!
//! The broker numbers the deliveries of a channel from one without gaps. All up to the first unfinished one are
//! acknowledged with one `multiple`; a delivery that finished before an earlier one is acknowledged alone, but only
//! when the earlier one is still unfinished at the next round; most are finished by then.

use std::collections::VecDeque;

/// Deliveries in the order of their tags.
pub(super) struct Window<T> {
    /// Tag of the first entry.
    base: u64,
    entries: VecDeque<Entry<T>>,
    /// Tags finished since the last round while an earlier one is unfinished.
    behind: Vec<u64>,
    /// The same, from before the last round.
    behind_before: Vec<u64>,
    finished: usize,
}

enum Entry<T> {
    Open(T),
    Finished,
    Acknowledged,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Acks {
    /// All deliveries up to this tag.
    pub(super) up_to: Option<u64>,
    pub(super) single: Vec<u64>,
}

impl<T> Window<T> {
    pub(super) fn new() -> Self {
        Self { base: 1, entries: VecDeque::new(), behind: Vec::new(), behind_before: Vec::new(), finished: 0 }
    }

    /// Adds the next delivery. Returns false when its tag is out of sequence.
    #[must_use]
    pub(super) fn push(&mut self, tag: u64, entry: T) -> bool {
        let next = self.base + self.entries.len() as u64;
        if tag == next {
            self.entries.push_back(Entry::Open(entry));
        }
        tag == next
    }

    pub(super) fn get(&mut self, tag: u64) -> Option<&mut T> {
        match self.entries.get_mut(self.index(tag)?) {
            Some(Entry::Open(entry)) => Some(entry),
            _ => None,
        }
    }

    /// Marks a delivery for acknowledgement; returns its entry.
    pub(super) fn finish(&mut self, tag: u64) -> Option<T> {
        let index = self.index(tag)?;
        let slot = self.entries.get_mut(index)?;
        match std::mem::replace(slot, Entry::Finished) {
            Entry::Open(entry) => {
                self.finished += 1;
                if index > 0 {
                    self.behind.push(tag);
                }
                Some(entry)
            }
            other => {
                *slot = other;
                None
            }
        }
    }

    pub(super) fn finished(&self) -> usize {
        self.finished
    }

    /// Deliveries neither finished nor acknowledged.
    pub(super) fn open(&self) -> impl Iterator<Item = (u64, &T)> {
        self.entries.iter().zip(self.base..).filter_map(|(entry, tag)| match entry {
            Entry::Open(entry) => Some((tag, entry)),
            _ => None,
        })
    }

    /// Returns the acknowledgements due now; with `all`, none is left for the next round.
    pub(super) fn acks(&mut self, all: bool) -> Acks {
        let mut acks = Acks::default();
        while matches!(self.entries.front(), Some(Entry::Finished | Entry::Acknowledged)) {
            if matches!(self.entries.pop_front(), Some(Entry::Finished)) {
                acks.up_to = Some(self.base);
                self.finished -= 1;
            }
            self.base += 1;
        }
        let before = std::mem::take(&mut self.behind_before);
        let since = std::mem::take(&mut self.behind);
        let (due, kept) = if all { ([before, since].concat(), Vec::new()) } else { (before, since) };
        for tag in due {
            let index = self.index(tag);
            if let Some(entry @ Entry::Finished) = index.and_then(|index| self.entries.get_mut(index)) {
                *entry = Entry::Acknowledged;
                self.finished -= 1;
                acks.single.push(tag);
            }
        }
        self.behind_before = kept;
        acks
    }

    fn index(&self, tag: u64) -> Option<usize> {
        usize::try_from(tag.checked_sub(self.base)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(count: u64) -> Window<()> {
        let mut window = Window::new();
        assert!((1..=count).all(|tag| window.push(tag, ())));
        window
    }

    fn acks(up_to: Option<u64>, single: &[u64]) -> Acks {
        Acks { up_to, single: single.to_vec() }
    }

    #[test]
    fn what_is_finished_in_order_takes_one_acknowledgement() {
        let mut window = window(5);
        for tag in [2, 1, 3] {
            window.finish(tag);
        }
        assert_eq!(window.acks(false), acks(Some(3), &[]));
        assert_eq!(window.acks(false), acks(None, &[]));
        assert_eq!(window.open().map(|(tag, ())| tag).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn behind_a_slow_one_a_round_is_waited_and_then_it_goes_alone() {
        let mut window = window(6);
        window.finish(3);
        assert_eq!(window.acks(false), acks(None, &[]));
        window.finish(4);
        assert_eq!(window.acks(false), acks(None, &[3]));
        assert_eq!(window.finished(), 1);
        window.finish(1);
        window.finish(2);
        assert_eq!(window.acks(false), acks(Some(4), &[]), "the acknowledged one is skipped");
        window.finish(6);
        assert_eq!(window.acks(true), acks(None, &[6]), "nothing is left for later");
        assert!(window.finish(5).is_some() && window.finish(5).is_none(), "once");
    }

    #[test]
    fn a_gap_in_the_tags_is_noticed() {
        assert!(!window(2).push(4, ()));
    }
}
