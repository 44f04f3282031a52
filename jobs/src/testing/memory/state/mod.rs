//! The state of the in-memory engine: all jobs and indexes, changed under one lock.
//!
//! Every transition removes the job from all indexes, changes it and adds it again, so that no index can disagree with
//! the job. Reads are in `inspect`.

mod inspect;
mod job;
mod unique;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use base::{Timestamp, ids::Uuid};

use self::job::{StoredJob, StoredJobState};
use crate::{
    engine::{
        CRASHES_MAX, Cancelled, ConsumerInfo, DeadReason, Delivery, EngineError, Interrupt, JobSignal,
        Published, Receipt, Settlement,
    },
    envelope::{Envelope, JobId},
    job::Priority,
};

#[derive(Default)]
pub(super) struct MemoryState {
    pub(super) closed: bool,
    queues: BTreeMap<String, Queue>,
    jobs: BTreeMap<JobId, StoredJob>,
    sessions: HashMap<u64, MemorySession>,
    busy_keys: HashSet<String>,
    /// Job and end of the period, by unique key.
    periods: HashMap<String, (JobId, Timestamp)>,
    /// Next number for a session, delivery or position; each is used once.
    next: u64,
}

#[derive(Default)]
struct Queue {
    paused: bool,
    ready: BTreeSet<(Priority, u64, JobId)>,
    delayed: BTreeSet<(Timestamp, JobId)>,
}

struct MemorySession {
    name: String,
    queue: String,
    room: usize,
    /// Jobs claimed so far.
    starts: u64,
    stopped: bool,
    stale: u64,
}

/// Result of a consumer's claim.
pub(super) enum Claim {
    Job(Box<Delivery>),
    /// No job now; claim again at this time or after a change.
    Wait(Option<Timestamp>),
    End,
}

impl MemoryState {
    pub(super) fn declare(&mut self, queue: &str) {
        self.queues.entry(queue.to_owned()).or_default();
    }

    pub(super) fn require(&mut self, queue: &str) -> Result<(), EngineError> {
        self.known(queue).map(|_| ())
    }

    fn known(&mut self, queue: &str) -> Result<&mut Queue, EngineError> {
        self.queues.get_mut(queue).ok_or_else(|| EngineError::NoSuchQueue(queue.to_owned()))
    }

    pub(super) fn queues(&self) -> Vec<String> {
        self.queues.keys().cloned().collect()
    }

    pub(super) fn set_paused(&mut self, queue: &str, paused: bool) -> Result<(), EngineError> {
        self.known(queue)?.paused = paused;
        Ok(())
    }

    pub(super) fn publish(&mut self, envelope: Envelope, now: Timestamp) -> Published {
        if self.jobs.contains_key(&envelope.id) {
            return Published::Duplicate;
        }
        if let Some(holder) = self.key_holder(&envelope, now) {
            let is_own = holder.id == envelope.id;
            return if is_own { Published::Duplicate } else { Published::NotUnique(holder) };
        }
        self.begin_period(&envelope, now);
        let place = match envelope.run_at {
            Some(at) if at > now => StoredJobState::Delayed { at },
            _ => StoredJobState::Ready { since: now },
        };
        let order = self.fresh();
        let (crashes, alone, cancelled, fetched) = (0, 0, false, false);
        self.put(StoredJob {
            envelope,
            order,
            place,
            fetched,
            crashes,
            alone,
            last_error: None,
            first_failed_at: None,
            cancelled,
        });
        Published::Accepted
    }

    pub(super) fn consumers(&self, now: Timestamp) -> Vec<ConsumerInfo> {
        let by = |held: &StoredJob, id| matches!(&held.place, StoredJobState::Running { receipt, .. } if receipt.session == id);
        let held = |id| self.jobs.values().filter(|held| by(held, id)).count() as u64;
        let info = |(id, session): (&u64, &MemorySession)| ConsumerInfo {
            name: session.name.clone(),
            queue: session.queue.clone(),
            jobs: held(*id),
            alive_until: now,
        };
        let mut consumers: Vec<_> = self.sessions.iter().map(info).collect();
        consumers.sort_by(|a, b| (&a.queue, &a.name).cmp(&(&b.queue, &b.name)));
        consumers
    }

    pub(super) fn subscribe(
        &mut self,
        name: String,
        queue: &str,
        prefetch: usize,
    ) -> Result<u64, EngineError> {
        self.known(queue)?;
        let session = self.fresh();
        let queue = queue.to_owned();
        self.sessions.insert(
            session,
            MemorySession { name, queue, room: prefetch.max(1), starts: 0, stopped: false, stale: 0 },
        );
        Ok(session)
    }

    pub(super) fn claim(&mut self, session: u64, now: Timestamp) -> Claim {
        let Some(consumer) = self.sessions.get(&session).filter(|_| !self.closed) else { return Claim::End };
        let Some(queue) = self.queues.get(&consumer.queue) else { return Claim::End };
        if consumer.stopped || consumer.room == 0 || queue.paused {
            return Claim::Wait(None);
        }
        let (name, starts) = (consumer.queue.clone(), consumer.starts);
        let next_due = self.promote(&name, now);
        let Some(id) = self.first_free(&name, starts) else { return Claim::Wait(next_due) };
        let Some(mut held) = self.take(id) else { return Claim::Wait(next_due) };
        let receipt = Receipt { job: id, tag: self.fresh(), session };
        let signal = JobSignal::default();
        held.place = StoredJobState::Running { receipt, signal: signal.clone() };
        held.fetched = true;
        let delivery =
            Delivery { envelope: Arc::new(held.envelope.clone()), receipt, crashes: held.crashes, signal };
        self.put(held);
        if let Some(consumer) = self.sessions.get_mut(&session) {
            consumer.starts += 1;
        }
        Claim::Job(Box::new(delivery))
    }

    pub(super) fn stop(&mut self, session: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.stopped = true;
        }
    }

    pub(super) fn stale_settlements(&self, session: u64) -> u64 {
        self.sessions.get(&session).map_or(0, |session| session.stale)
    }

    pub(super) fn settle(&mut self, session: u64, receipt: Receipt, settlement: Settlement, now: Timestamp) {
        if !self.holds(receipt) {
            if let Some(session) = self.sessions.get_mut(&session) {
                session.stale += 1;
            }
            return;
        }
        let Some(mut held) = self.take(receipt.job) else { return };
        match settlement {
            Settlement::Done | Settlement::Cancelled { .. } => return,
            Settlement::Dead { reason, error } => {
                // The last run of an exhausted job counts as an attempt; for other reasons there was no run.
                held.envelope.attempt += u32::from(reason == DeadReason::Exhausted);
                held.fail(error, now);
                held.place = held.dead(reason, now);
            }
            // A cancel request during the run takes effect now.
            _ if held.cancelled => return,
            Settlement::Retry { at, error } => {
                held.envelope.attempt += 1;
                held.fail(error, now);
                held.place = StoredJobState::Delayed { at };
            }
            Settlement::Snooze { at } => held.place = StoredJobState::Delayed { at },
            Settlement::Release => held.place = StoredJobState::Ready { since: now },
        }
        if let StoredJobState::Delayed { at } = held.place {
            held.envelope.run_at = Some(at);
        }
        self.put(held);
    }

    /// Ends a session and releases its jobs.
    pub(super) fn leave(&mut self, session: u64, crashed: bool, now: Timestamp) {
        let held_by = |held: &&StoredJob| matches!(&held.place, StoredJobState::Running { receipt, .. } if receipt.session == session);
        let ids: Vec<JobId> = self.jobs.values().filter(held_by).map(|held| held.envelope.id).collect();
        let alone = ids.len() == 1;
        for id in ids {
            let Some(mut held) = self.take(id) else { continue };
            if held.cancelled {
                continue;
            }
            held.crashes += u32::from(crashed);
            held.alone += u32::from(crashed && alone);
            held.place = if held.alone >= CRASHES_MAX {
                held.fail(format!("lost its consumer {CRASHES_MAX} times alone"), now);
                held.dead(DeadReason::Crashed, now)
            } else {
                StoredJobState::Ready { since: now }
            };
            self.put(held);
        }
        self.sessions.remove(&session);
    }

    pub(super) fn purge(&mut self, queue: &str) -> Result<u64, EngineError> {
        let queue = self.known(queue)?;
        let ready = queue.ready.iter().map(|(_, _, id)| *id);
        let ids: Vec<JobId> = ready.chain(queue.delayed.iter().map(|(_, id)| *id)).collect();
        Ok(ids.into_iter().filter_map(|id| self.take(id)).count() as u64)
    }

    pub(super) fn cancel(&mut self, id: JobId, reason: &str) -> Cancelled {
        let Some(held) = self.jobs.get_mut(&id) else { return Cancelled::NotFound };
        if let StoredJobState::Running { signal, .. } = &held.place {
            signal.fire(Interrupt::Cancelled);
            held.cancelled = true;
            held.last_error = Some(reason.to_owned());
            return Cancelled::Requested;
        }
        self.take(id);
        Cancelled::Removed
    }

    /// Makes due jobs ready, in the order of their due times; returns the next due time.
    fn promote(&mut self, queue: &str, now: Timestamp) -> Option<Timestamp> {
        loop {
            let (at, id) = *self.queues.get(queue)?.delayed.first()?;
            if at > now {
                return Some(at);
            }
            let order = self.fresh();
            let mut held = self.take(id)?;
            held.order = order;
            held.place = StoredJobState::Ready { since: at };
            self.put(held);
        }
    }

    /// The first ready job in turn whose concurrency key is not in use.
    fn first_free(&self, queue: &str, starts: u64) -> Option<JobId> {
        let free = |id: &JobId| {
            let key = self.jobs.get(id).and_then(|held| held.envelope.concurrency_key.as_ref());
            key.is_none_or(|key| !self.busy_keys.contains(key))
        };
        let ready = &self.queues.get(queue)?.ready;
        let (first, last) = (JobId(Uuid::nil()), JobId(Uuid::max()));
        Priority::in_turn(starts).into_iter().find_map(|priority| {
            let of = ready.range((priority, 0, first)..=(priority, u64::MAX, last));
            of.map(|(_, _, id)| *id).find(free)
        })
    }

    fn holds(&self, wanted: Receipt) -> bool {
        let held = self.jobs.get(&wanted.job);
        held.is_some_and(
            |held| matches!(&held.place, StoredJobState::Running { receipt, .. } if *receipt == wanted),
        )
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn take(&mut self, id: JobId) -> Option<StoredJob> {
        let held = self.jobs.remove(&id)?;
        let queue = self.queues.entry(held.envelope.queue.clone()).or_default();
        match &held.place {
            StoredJobState::Ready { .. } => {
                queue.ready.remove(&(held.envelope.priority, held.order, id));
            }
            StoredJobState::Delayed { at } => {
                queue.delayed.remove(&(*at, id));
            }
            StoredJobState::Running { receipt, .. } => {
                if let Some(session) = self.sessions.get_mut(&receipt.session) {
                    session.room += 1;
                }
                if let Some(key) = &held.envelope.concurrency_key {
                    self.busy_keys.remove(key);
                }
            }
            StoredJobState::Dead(_) => {}
        }
        Some(held)
    }

    fn put(&mut self, held: StoredJob) {
        let id = held.envelope.id;
        let queue = self.queues.entry(held.envelope.queue.clone()).or_default();
        match &held.place {
            StoredJobState::Ready { .. } => {
                queue.ready.insert((held.envelope.priority, held.order, id));
            }
            StoredJobState::Delayed { at } => {
                queue.delayed.insert((*at, id));
            }
            StoredJobState::Running { receipt, .. } => {
                if let Some(session) = self.sessions.get_mut(&receipt.session) {
                    session.room = session.room.saturating_sub(1);
                }
                self.busy_keys.extend(held.envelope.concurrency_key.clone());
            }
            StoredJobState::Dead(_) => {}
        }
        self.jobs.insert(id, held);
    }
}
