//! The rows a server would keep: jobs in the order of delivery, queues, sessions. Every transition is one method, under
//! one lock; with a server it is one transaction, guarded by the state it expects.

mod operator;
mod unique;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use orderworks_jobs::{
    Envelope, JobId, Priority, Timestamp,
    engine::{
        CRASHES_MAX, ConsumeOptions, DeadInfo, DeadReason, Delivery, EngineError, InspectedJob, JobSignal,
        JobState, Published, Receipt, Settlement,
    },
};

/// Errors are kept for people; a page is enough.
const ERROR_CHARS_MAX: usize = 1000;

#[derive(Default)]
pub(crate) struct Rows {
    /// The conformance suite asks how a broken schema shows.
    pub(crate) broken: bool,
    /// By name, whether paused.
    queues: BTreeMap<String, bool>,
    /// In the order of delivery. A job keeps its place until it is done, so a released one is the next again.
    jobs: BTreeMap<(Priority, u64), Row>,
    sessions: HashMap<u64, ConsumerSession>,
    /// Job and end of the period, by unique key.
    periods: HashMap<String, (JobId, Timestamp)>,
    /// Last number given to a session, a position or a delivery.
    last: u64,
}

struct Row {
    envelope: Envelope,
    ready_at: Timestamp,
    /// Set while it runs. Its tag is the fencing token: each delivery has its own.
    held: Option<(Receipt, JobSignal)>,
    dead: Option<DeadInfo>,
    /// Whether a consumer has had it since it was published or redriven.
    fetched: bool,
    cancelled: bool,
    crashes: u32,
    alone: u32,
    last_error: Option<String>,
    first_failed_at: Option<Timestamp>,
}

struct ConsumerSession {
    queue: String,
    options: ConsumeOptions,
    running: usize,
    /// Jobs claimed so far, for the share of lower priorities.
    starts: u64,
    stopped: bool,
}

pub(crate) enum Claim {
    Job(Box<Delivery>),
    /// Nothing now; look again at this time or after a change.
    Wait(Option<Timestamp>),
    End,
}

impl Row {
    fn state(&self, now: Timestamp) -> JobState {
        match self {
            Self { dead: Some(_), .. } => JobState::Dead,
            Self { held: Some(_), .. } => JobState::Running,
            _ if self.ready_at > now => JobState::Delayed,
            _ => JobState::Ready,
        }
    }

    fn fail(&mut self, error: &str, now: Timestamp) {
        self.last_error = Some(error.chars().take(ERROR_CHARS_MAX).collect());
        self.first_failed_at.get_or_insert(now);
    }

    fn die(&mut self, reason: DeadReason, error: &str, now: Timestamp) {
        self.fail(error, now);
        let first_failed_at = self.first_failed_at.unwrap_or(now);
        self.dead = Some(DeadInfo { reason, first_failed_at, died_at: now });
    }

    fn show(&self, now: Timestamp) -> InspectedJob {
        let (state, mut envelope) = (self.state(now), self.envelope.clone());
        if state == JobState::Delayed {
            envelope.run_at = Some(self.ready_at);
        }
        InspectedJob {
            envelope,
            state,
            crashes: self.crashes,
            last_error: self.last_error.clone(),
            behind: None,
            dead: self.dead.clone(),
        }
    }
}

impl Rows {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(crate) fn declare(&mut self, queue: &str) {
        self.queues.entry(queue.to_owned()).or_default();
    }

    pub(crate) fn require(&self, queue: &str) -> Result<(), EngineError> {
        let known = self.queues.contains_key(queue);
        if known { Ok(()) } else { Err(EngineError::NoSuchQueue(queue.to_owned())) }
    }

    pub(crate) fn publish(&mut self, envelope: Envelope, now: Timestamp) -> Published {
        if let Some(holder) = self.key_holder(&envelope, now) {
            let is_own = holder.id == envelope.id;
            return if is_own { Published::Duplicate } else { Published::NotUnique(holder) };
        }
        self.begin_period(&envelope, now);
        let place = (envelope.priority, self.next());
        let row = Row {
            ready_at: envelope.run_at.unwrap_or(now),
            envelope,
            held: None,
            dead: None,
            fetched: false,
            cancelled: false,
            crashes: 0,
            alone: 0,
            last_error: None,
            first_failed_at: None,
        };
        self.jobs.insert(place, row);
        Published::Accepted
    }

    pub(crate) fn subscribe(&mut self, queue: &str, options: ConsumeOptions) -> Result<u64, EngineError> {
        self.require(queue)?;
        let session = self.next();
        let consumer =
            ConsumerSession { queue: queue.to_owned(), options, running: 0, starts: 0, stopped: false };
        self.sessions.insert(session, consumer);
        Ok(session)
    }

    /// The first ready job for this session.
    pub(crate) fn claim(&mut self, session: u64, now: Timestamp) -> Claim {
        let Some(consumer) = self.sessions.get(&session) else { return Claim::End };
        let (queue, starts) = (consumer.queue.clone(), consumer.starts);
        let full = consumer.running >= consumer.options.prefetch.max(1);
        if full || consumer.stopped || self.queues.get(&queue) == Some(&true) {
            return Claim::Wait(None);
        }
        let is_free = |row: &Row| {
            row.envelope.queue == queue && row.state(now) == JobState::Ready && !self.is_key_taken(row)
        };
        let found = Priority::in_turn(starts)
            .into_iter()
            .find_map(|priority| self.jobs.iter().find(|&((of, _), row)| *of == priority && is_free(row)));
        let Some((&place, _)) = found else {
            let of_queue = self.jobs.values().filter(|row| row.envelope.queue == queue);
            let delayed = of_queue.filter(|row| row.state(now) == JobState::Delayed);
            return Claim::Wait(delayed.map(|row| row.ready_at).min());
        };
        let tag = self.next();
        let Some(row) = self.jobs.get_mut(&place) else { return Claim::Wait(None) };
        if row.envelope.kind.is_empty() {
            // Memory holds no message that does not decode; one without a kind stands for it.
            row.die(DeadReason::Undecodable, "not an envelope", now);
            return self.claim(session, now);
        }
        let (receipt, signal) = (Receipt { job: row.envelope.id, tag, session }, JobSignal::default());
        row.held = Some((receipt, signal.clone()));
        row.fetched = true;
        let envelope = Arc::new(row.envelope.clone());
        let delivery = Delivery { envelope, receipt, crashes: row.crashes, signal };
        if let Some(consumer) = self.sessions.get_mut(&session) {
            consumer.running += 1;
            consumer.starts += 1;
        }
        Claim::Job(Box::new(delivery))
    }

    fn is_key_taken(&self, row: &Row) -> bool {
        let key = &row.envelope.concurrency_key;
        let runs = |other: &Row| other.held.is_some() && other.envelope.concurrency_key == *key;
        key.is_some() && self.jobs.values().any(runs)
    }

    /// Whether the receipt was the one of the present delivery.
    pub(crate) fn settle(&mut self, receipt: Receipt, settlement: Settlement, now: Timestamp) -> bool {
        let is_held = |row: &Row| row.held.as_ref().is_some_and(|(held, _)| *held == receipt);
        let Some((&place, row)) = self.jobs.iter_mut().find(|(_, row)| is_held(row)) else { return false };
        row.held = None;
        let mut ended = row.cancelled;
        match settlement {
            Settlement::Done | Settlement::Cancelled { .. } => ended = true,
            Settlement::Dead { reason, error } => {
                // Of an exhausted job the last run counts; for other reasons there was none.
                row.envelope.attempt += u32::from(reason == DeadReason::Exhausted);
                row.die(reason, &error, now);
            }
            Settlement::Retry { at, error } => {
                row.envelope.attempt += 1;
                row.fail(&error, now);
                row.ready_at = at;
            }
            Settlement::Snooze { at } => row.ready_at = at,
            Settlement::Release => {}
        }
        if ended {
            self.jobs.remove(&place);
        }
        if let Some(consumer) = self.sessions.get_mut(&receipt.session) {
            consumer.running -= 1;
        }
        true
    }

    pub(crate) fn stop(&mut self, session: u64) {
        if let Some(consumer) = self.sessions.get_mut(&session) {
            consumer.stopped = true;
        }
    }

    /// Ends a session; what it holds is delivered again.
    pub(crate) fn leave(&mut self, session: u64, crashed: bool, now: Timestamp) {
        let alone = self.sessions.remove(&session).is_some_and(|consumer| consumer.running == 1);
        for row in self.jobs.values_mut() {
            if row.held.as_ref().is_none_or(|(receipt, _)| receipt.session != session) {
                continue;
            }
            row.held = None;
            row.crashes += u32::from(crashed);
            row.alone += u32::from(crashed && alone);
            if row.alone > CRASHES_MAX {
                row.die(DeadReason::Crashed, "its consumers were lost", now);
            }
        }
        self.jobs.retain(|_, row| row.held.is_some() || !row.cancelled);
    }
}
