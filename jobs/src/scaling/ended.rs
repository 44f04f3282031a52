//! Runs that have ended between two looks at the workers' notes of a queue.
//!
//! Guarantees: a run counts once; of a worker that ran before the first look, nothing counts but what ends from then
//! on. Holds two numbers for each worker of the last notes. Numbers in, numbers out; no clock.

use std::collections::HashMap;

use base::Timestamp;

use crate::job_store::WorkerNote;

/// Runs that have ended, without released ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunTotals {
    /// How many.
    pub ended: u64,
    /// Time that they took together, in milliseconds.
    pub busy_ms: u64,
}

/// What has ended since the last look, for one queue.
#[derive(Debug, Clone)]
pub struct EndedRuns {
    /// As the last look has counted them, by name and start of the process; bounded by the notes.
    totals: HashMap<(String, Timestamp), RunTotals>,
    looked_at: Timestamp,
}

impl EndedRuns {
    /// Counts from this time on.
    pub fn new(at: Timestamp) -> Self {
        Self { totals: HashMap::new(), looked_at: at }
    }

    /// Runs that have ended since the last look, by the notes of the queue's live workers.
    pub fn since_last_look(&self, notes: &[&WorkerNote]) -> RunTotals {
        let mut since = RunTotals::default();
        for note in notes {
            let now = of_note(note);
            // Of a worker that ran before the first look, nothing is known but what ends from now on.
            let unknown = if note.started_at >= self.looked_at { RunTotals::default() } else { now };
            let before = self.totals.get(&process(note)).copied().unwrap_or(unknown);
            since.ended = since.ended.saturating_add(now.ended.saturating_sub(before.ended));
            since.busy_ms = since.busy_ms.saturating_add(now.busy_ms.saturating_sub(before.busy_ms));
        }
        since
    }

    /// Takes these notes for the last look.
    pub fn look(&mut self, notes: &[&WorkerNote], at: Timestamp) {
        self.totals = notes.iter().map(|note| (process(note), of_note(note))).collect();
        self.looked_at = at;
    }
}

fn process(note: &WorkerNote) -> (String, Timestamp) {
    (note.worker.clone(), note.started_at)
}

fn of_note(note: &WorkerNote) -> RunTotals {
    RunTotals { ended: note.ended, busy_ms: note.busy_ms }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::time::later;

    use super::*;

    fn at(second: u64) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, Duration::from_secs(second))
    }

    fn note(worker: &str, started: u64, ended: u64) -> WorkerNote {
        WorkerNote {
            worker: worker.to_owned(),
            queue: "email".to_owned(),
            release: "1".to_owned(),
            started_at: at(started),
            noted_at: at(started),
            slots: 1,
            used: 0,
            configured: 1,
            contact_at: None,
            trouble: None,
            runs: Vec::new(),
            ended,
            busy_ms: ended * 10,
            held_back: false,
        }
    }

    #[test]
    fn a_run_counts_once_and_none_of_before_the_first_look() {
        let mut runs = EndedRuns::new(at(100));
        let old = note("old", 1, 50);
        assert_eq!(runs.since_last_look(&[&old]), RunTotals::default());
        runs.look(&[&old], at(100));
        let (old, new) = (note("old", 1, 53), note("new", 101, 4));
        assert_eq!(runs.since_last_look(&[&old, &new]), RunTotals { ended: 7, busy_ms: 70 });
        runs.look(&[&old, &new], at(102));
        assert_eq!(runs.since_last_look(&[&old, &new]), RunTotals::default());
        // The same name, started again: it counts from zero.
        let again = note("old", 103, 2);
        assert_eq!(runs.since_last_look(&[&again, &new]), RunTotals { ended: 2, busy_ms: 20 });
    }
}
