//! The slots and starts that this process holds of one key, and what it asks for next.
//!
//! Guarantees: no start without a slot of a term that lasts and a start of a block that is valid; slots that are about
//! to be given back are not used any more, from before the store is asked. Does no I/O.

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc, time::Duration};

use base::Ambient;
use tokio::time::Instant;

use super::{
    PARKED_FOR,
    limit::Limit,
    term::{Moment, Term},
};
use crate::{
    envelope::JobId,
    job_store::{GrantedStarts, LeasedSlots},
};

/// Time for which further jobs are parked without asking, once the store has refused one.
const REFUSED_FOR: Duration = Duration::from_millis(250);
/// Time after which idle slots are given back; at once where others may wait and a run ends.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// The same where others wait, after an answer: the jobs that waited for it start meanwhile.
const IDLE_AFTER_ANSWER: Duration = Duration::from_millis(50);
/// Least time between two looks at a key only because of its parked jobs.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(100);

pub(super) struct KeyState {
    /// The lease of the slots; `None` before the first and after a loss.
    term: Option<Arc<Term>>,
    slots: u32,
    /// Slots of runs that began under this term.
    used: u32,
    /// Most slots used since the store was asked last.
    peak: u32,
    block: Option<Block>,
    /// Jobs put aside until the store answers. Bounded by what the queues have fetched.
    waiting: HashSet<JobId>,
    refused_until: Option<Instant>,
    /// Whether others may wait for slots of this process.
    contended: bool,
    /// Jobs parked by any process are looked after until then.
    watched_until: Option<Instant>,
    /// Time of the next question to the store.
    pub(super) due: Instant,
}

/// A block of starts.
struct Block {
    id: i64,
    granted: u32,
    left: u32,
    end: Moment,
}

/// The right to start a run.
pub(super) struct StartTaken {
    /// The lease of its slot; `None` for a limit of starts alone.
    pub(super) term: Option<Arc<Term>>,
}

/// What the store is asked for a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wants {
    /// Slots to hold.
    pub(super) slots: u32,
    /// Slots that runs and waiting jobs need, which may be more than the limit has.
    needed: u32,
    /// Starts that waiting jobs need.
    pub(super) starts: u32,
}

impl KeyState {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            term: None,
            slots: 0,
            used: 0,
            peak: 0,
            block: None,
            waiting: HashSet::new(),
            refused_until: None,
            contended: false,
            watched_until: None,
            due: now,
        }
    }

    /// Takes a slot and a start, as far as the limit has such numbers; `None` while either is missing.
    pub(super) fn start(&mut self, limit: &Limit, job: JobId, ambient: &Ambient) -> Option<StartTaken> {
        let term = match limit.at_once() {
            Some(_) => Some(self.free_slot()?),
            None => None,
        };
        if limit.starts().is_some() {
            let block = self.block.as_mut().filter(|block| block.left > 0 && !block.end.is_past(ambient))?;
            block.left -= 1;
        }
        if term.is_some() {
            self.used += 1;
            self.peak = self.peak.max(self.used);
        }
        self.waiting.remove(&job);
        Some(StartTaken { term })
    }

    fn free_slot(&self) -> Option<Arc<Term>> {
        let term = self.term.as_ref().filter(|term| self.used < self.slots && !term.is_over())?;
        Some(Arc::clone(term))
    }

    /// Notes a job that waits for the store's answer; returns false for one to be parked, as the store has just refused
    /// another.
    pub(super) fn waits(&mut self, job: JobId, now: Instant) -> bool {
        if self.refused_until.is_some_and(|until| now < until) {
            return false;
        }
        self.waiting.insert(job);
        self.due = now;
        true
    }

    /// Looks after a job that was parked at the key just now, for as long as it may wait.
    pub(super) fn watch(&mut self, now: Instant) {
        self.watches(true, now);
        self.contended = true;
        self.due = self.due.min(now + IDLE_AFTER);
    }

    fn watches(&mut self, parked: bool, now: Instant) {
        self.watched_until = parked.then(|| now + PARKED_FOR + PARKED_FOR / 2);
    }

    /// Frees the slot of a run. Returns whether a job waits here for it, and whether the store is to be asked at once.
    pub(super) fn ended(&mut self, term: &Arc<Term>, now: Instant) -> (bool, bool) {
        if !self.term.as_ref().is_some_and(|held| Arc::ptr_eq(held, term)) {
            return (false, false);
        }
        self.used = self.used.saturating_sub(1);
        if self.contended {
            self.due = now;
        }
        (!self.waiting.is_empty(), self.contended)
    }

    /// What to ask for now, after [`Self::unused_block`]. Slots that are not wanted any more are not used from here on.
    pub(super) fn wants(&mut self, limit: &Limit) -> Wants {
        if self.term.as_ref().is_some_and(|term| term.is_over()) {
            self.lose();
        }
        let waiting = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let (needed, max) = (self.used.saturating_add(waiting), limit.at_once().unwrap_or(0));
        let spare = match (self.contended, waiting) {
            (true, _) => 0,
            (false, 0) => self.peak.saturating_sub(self.used),
            // Growth that doubles, up to a quarter of all: the rest is for other processes.
            (false, _) => self.used.min(max / 4),
        };
        let slots = needed.saturating_add(spare).min(max);
        self.slots = self.slots.min(slots);
        self.peak = self.used;
        let left = self.block.as_ref().map_or(0, |block| block.left);
        Wants { slots, needed, starts: waiting.saturating_sub(left) }
    }

    /// Runs under this term end by themselves.
    fn lose(&mut self) {
        (self.term, self.slots, self.used, self.peak) = (None, 0, 0, 0);
    }

    /// Takes in the answer for slots, under a lease up to `end`.
    pub(super) fn leased(
        &mut self,
        limit: &Limit,
        wants: Wants,
        answer: LeasedSlots,
        (end, ambient): (Moment, &Ambient),
    ) {
        let now = Instant::now();
        // With fewer slots than runs the term is not extended: those that are too many are not known, so all end.
        let lasts = self.term.as_ref().is_some_and(|term| answer.slots < self.used || term.extend(end));
        if !lasts {
            self.lose();
            self.term = (answer.slots > 0).then(|| Arc::new(Term::new(ambient, end)));
        }
        self.slots = answer.slots;
        let refused = answer.slots < wants.needed;
        self.refused_until = refused.then(|| now + REFUSED_FOR);
        self.contended = refused || answer.parked || limit.at_once().is_some_and(|max| answer.slots >= max);
        self.watches(answer.parked, now);
    }

    /// Takes in the answer for starts that were asked for at `sent`.
    pub(super) fn granted(&mut self, wants: Wants, answer: GrantedStarts, sent: Moment) {
        let now = Instant::now();
        if answer.starts > 0 {
            let (id, granted) = (answer.block, answer.starts);
            self.block = Some(Block { id, granted, left: granted, end: sent.after(answer.valid_for) });
        }
        if answer.starts < wants.starts {
            let until = now + answer.free_in.clamp(LOOK_EVERY_MIN, REFUSED_FOR);
            self.refused_until = self.refused_until.max(Some(until));
        }
        self.watches(answer.parked, now);
    }

    /// Ends a question: jobs that waited for it are decided about again. The next one is after `renew_in`, the time
    /// that leases leave, or before that when idle slots are to be given back, a block ends, or starts become free.
    pub(super) fn answered(&mut self, renew_in: Duration, free_in: Option<Duration>) {
        let now = Instant::now();
        self.waiting.clear();
        let mut due = now + renew_in;
        if self.slots > self.used {
            due = due.min(now + if self.contended { IDLE_AFTER_ANSWER } else { IDLE_AFTER });
        }
        if let Some(block) = &self.block {
            due = due.min(block.end.at);
        }
        if let Some(free_in) = free_in {
            due = due.min(now + free_in.max(LOOK_EVERY_MIN));
        }
        self.due = due;
    }

    /// The store did not answer: jobs that waited for it are sent away, and it is asked again at this time.
    pub(super) fn unanswered(&mut self, again: Instant) {
        self.waiting.clear();
        self.due = again;
    }

    /// The id and the used starts of a block that is over, or of any with `now`, if some were not used.
    pub(super) fn unused_block(&mut self, ambient: &Ambient, now: bool) -> Option<(i64, u32)> {
        let block = self.block.take_if(|block| now || block.end.is_past(ambient))?;
        (block.left > 0).then_some((block.id, block.granted - block.left))
    }

    /// Whether nothing of the key is left here.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        let holds = self.slots > 0 || self.used > 0 || self.block.is_some();
        !holds && self.waiting.is_empty() && !self.is_watched(now)
    }

    fn is_watched(&self, now: Instant) -> bool {
        self.watched_until.is_some_and(|until| now < until)
    }
}
