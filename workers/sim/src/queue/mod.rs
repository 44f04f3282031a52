//! Simulated queue: holds copies of jobs and delivers them in any order, more than once if the seed decides so.
//!
//! Keeps the promises of [`jobs::Publish`] about publishing and settling, and no more: ids are not deduplicated, a live
//! consumer may be taken for lost, an outcome may get lost, a retry may leave its predecessor behind. An outcome counts
//! only under the newest lease. Workers of the simulation take jobs with [`SimQueue::claim`]; an operator changes those
//! that wait, see `bulk`.

mod bulk;
mod engine;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::{Ambient, ErrorClass, Timestamp, time::between};
use jobs::{
    Envelope,
    engine::{CRASHES_MAX, Delivery, EngineError, Event, Interrupt, JobSignal, Receipt, Settlement},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    chance::{Chance, InjectedFault, pause},
    trace::Trace,
    watch::Watch,
};

/// Longest time until a lost job is delivered again.
const FOUND_AFTER_MAX: Duration = Duration::from_secs(10);
/// How long a job that crashed too many consumers stays in the dead queue.
const REDRIVEN_AFTER: Duration = Duration::from_mins(5);
/// Longest delay of a job without a reason.
const DELAY_MAX: Duration = Duration::from_secs(10);
/// Longest time after which a live consumer is taken for lost.
const LEASE_MAX: Duration = Duration::from_secs(20);
/// Longest time until a publisher gives up.
const CONFIRM_MAX: Duration = Duration::from_secs(5);

/// The queue; clones share it.
#[derive(Clone)]
pub(crate) struct SimQueue(Arc<SimQueueInner>);

struct SimQueueInner {
    chance: Arc<Chance>,
    trace: Arc<Trace>,
    watch: Arc<Watch>,
    ambient: Ambient,
    /// Mutation: forgets a job at its delivery.
    acks_first: bool,
    state: Mutex<SimQueueState>,
    work: Notify,
}

#[derive(Default)]
struct SimQueueState {
    copies: BTreeMap<u64, SimJob>,
    ready: Vec<u64>,
    /// Under the mutation: jobs forgotten at their delivery, known to their consumer alone.
    acked: BTreeMap<u64, SimJob>,
    /// Last number of a copy or a delivery.
    next: u64,
    announced: Vec<Event>,
    runs: u64,
}

struct SimJob {
    envelope: Arc<Envelope>,
    crashes: u32,
    lease: Option<Lease>,
}

struct Lease {
    consumer: u64,
    tag: u64,
    signal: JobSignal,
}

impl SimQueue {
    pub(crate) fn new(
        chance: Arc<Chance>,
        trace: Arc<Trace>,
        watch: Arc<Watch>,
        ambient: Ambient,
        acks_first: bool,
    ) -> Self {
        let (state, work) = (Mutex::default(), Notify::new());
        Self(Arc::new(SimQueueInner { chance, trace, watch, ambient, acks_first, state, work }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        let state = self.0.state.lock();
        state.copies.is_empty() && state.acked.is_empty()
    }

    /// Ids and kinds of the jobs held.
    pub(crate) fn held(&self) -> Vec<String> {
        let state = self.0.state.lock();
        state.copies.values().map(|held| format!("{} {}", held.envelope.id, held.envelope.kind)).collect()
    }

    pub(crate) fn published_events(&self) -> Vec<Event> {
        self.0.state.lock().announced.clone()
    }

    pub(crate) fn runs(&self) -> u64 {
        self.0.state.lock().runs
    }

    /// The next job for a consumer: any waiting one.
    pub(crate) async fn claim(&self, consumer: u64) -> Delivery {
        loop {
            let mut work = std::pin::pin!(self.0.work.notified());
            // Armed before the check, so that no wake-up is missed.
            work.as_mut().enable();
            if let Some(delivery) = self.try_claim(consumer) {
                return delivery;
            }
            work.await;
        }
    }

    /// Settles a job; an outcome under a lost lease is dropped.
    pub(crate) fn settle(&self, receipt: Receipt, settlement: Settlement) {
        self.note(receipt, &settlement);
        let number = receipt.session;
        if self.0.acks_first {
            let held = self.0.state.lock().acked.remove(&number);
            if let Some(held) = held {
                self.conclude(held, settlement);
            }
            return;
        }
        let mut state = self.0.state.lock();
        let Some(held) = state.copies.get(&number) else { return };
        let fenced = held.lease.as_ref().is_none_or(|lease| lease.tag != receipt.tag);
        if fenced {
            return;
        }
        if self.0.chance.happens(InjectedFault::OutcomeLost) {
            drop(state);
            self.lose(number);
            return;
        }
        let held = state.remove(number);
        drop(state);
        let Some(held) = held else { return };
        self.conclude(held, settlement);
    }

    /// Takes a consumer for lost: its jobs will be delivered to others.
    pub(crate) fn lost(&self, consumer: u64) {
        let held_by = |held: &SimJob| held.lease.as_ref().is_some_and(|lease| lease.consumer == consumer);
        let mut state = self.0.state.lock();
        state.acked.retain(|_, held| !held_by(held));
        let numbers: Vec<u64> =
            state.copies.iter().filter(|(_, held)| held_by(held)).map(|(number, _)| *number).collect();
        drop(state);
        for number in numbers {
            self.lose(number);
        }
    }

    fn try_claim(&self, consumer: u64) -> Option<Delivery> {
        let mut state = self.0.state.lock();
        let waiting = state.ready.len();
        if waiting == 0 {
            return None;
        }
        let number = state.ready.swap_remove(self.0.chance.place(waiting));
        let tag = state.fresh();
        state.runs += 1;
        let held = state.copies.get_mut(&number)?;
        let signal = JobSignal::default();
        held.lease = Some(Lease { consumer, tag, signal: signal.clone() });
        let envelope = Arc::clone(&held.envelope);
        let crashes = held.crashes;
        if self.0.acks_first
            && let Some(held) = state.remove(number)
        {
            state.acked.insert(number, held);
        }
        drop(state);
        if self.0.chance.happens(InjectedFault::LeaseLost) {
            self.take_for_lost(number, tag);
        }
        let receipt = Receipt { job: envelope.id, tag, session: number };
        Some(Delivery { envelope, receipt, crashes, signal })
    }

    fn note(&self, receipt: Receipt, settlement: &Settlement) {
        self.0.trace.note("settled", || format!("{} {settlement:?}", receipt.job));
        if let Settlement::Dead { error, .. } = settlement {
            self.0.watch.breach("dead job", format!("{}: {error}", receipt.job));
        }
        if let Settlement::Retry { error, .. } = settlement
            && error.contains("panicked")
        {
            self.0.watch.breach("panic", format!("{}: {error}", receipt.job));
        }
    }

    fn conclude(&self, held: SimJob, settlement: Settlement) {
        let (at, attempts) = match settlement {
            Settlement::Retry { at, .. } => (at, 1),
            Settlement::Snooze { at } => (at, 0),
            Settlement::Release => (self.0.ambient.now(), 0),
            Settlement::Done | Settlement::Cancelled { .. } | Settlement::Dead { .. } => return,
        };
        if self.0.chance.happens(InjectedFault::RetryDoubled) {
            let again =
                SimJob { envelope: Arc::clone(&held.envelope), crashes: held.crashes + 1, lease: None };
            let found_after = self.0.chance.some_time(FOUND_AFTER_MAX);
            self.keep(None, again, found_after);
        }
        let mut envelope = (*held.envelope).clone();
        envelope.attempt += attempts;
        envelope.run_at = Some(at);
        let wait = self.until(at);
        self.keep(None, SimJob { envelope: Arc::new(envelope), crashes: held.crashes, lease: None }, wait);
    }

    /// Takes a job from its consumer and makes it ready again later.
    fn lose(&self, number: u64) {
        let Some(mut held) = self.0.state.lock().remove(number) else { return };
        held.crashes += 1;
        held.lease = None;
        let mut found_after = self.0.chance.some_time(FOUND_AFTER_MAX);
        if held.crashes > CRASHES_MAX {
            // Dead as a poison message, until an operator redrives it: here consumers die by the second.
            self.0.trace.note("redriven", || held.envelope.id.to_string());
            held.crashes = 0;
            found_after += REDRIVEN_AFTER;
        }
        self.keep(Some(number), held, found_after);
    }

    fn take_for_lost(&self, number: u64, tag: u64) {
        let (queue, after) = (self.clone(), self.0.chance.some_time(LEASE_MAX));
        tokio::spawn(async move {
            pause(after).await;
            let holds = |held: &SimJob| {
                held.lease.as_ref().filter(|lease| lease.tag == tag).map(|l| l.signal.clone())
            };
            let signal = queue.0.state.lock().copies.get(&number).and_then(holds);
            if let Some(signal) = signal {
                queue.0.trace.note("fault", || format!("LeaseLost of delivery {tag}"));
                signal.fire(Interrupt::LeaseLost);
                queue.lose(number);
            }
        });
    }

    /// Keeps a job, ready after `wait`; a lost copy keeps its number.
    fn keep(&self, number: Option<u64>, held: SimJob, wait: Duration) {
        let mut state = self.0.state.lock();
        let number = number.unwrap_or_else(|| state.fresh());
        state.copies.insert(number, held);
        if wait.is_zero() {
            state.ready.push(number);
            drop(state);
            self.0.work.notify_one();
            return;
        }
        drop(state);
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let mut state = queue.0.state.lock();
            if state.copies.contains_key(&number) {
                state.ready.push(number);
                queue.0.work.notify_one();
            }
        });
    }

    fn accept(&self, envelope: Envelope) {
        let envelope = Arc::new(envelope);
        let copies = if self.0.chance.happens(InjectedFault::JobDoubled) { 2 } else { 1 };
        for _ in 0..copies {
            let delayed = self.0.chance.happens(InjectedFault::JobDelayed);
            let wait = if delayed { self.0.chance.some_time(DELAY_MAX) } else { Duration::ZERO };
            let wait = wait.max(envelope.run_at.map_or(Duration::ZERO, |at| self.until(at)));
            self.keep(None, SimJob { envelope: Arc::clone(&envelope), crashes: 0, lease: None }, wait);
        }
    }

    fn until(&self, at: Timestamp) -> Duration {
        between(self.0.ambient.now(), at)
    }

    fn unavailable(detail: &str) -> EngineError {
        EngineError::new(ErrorClass::Unavailable, "simulated", detail)
    }

    /// How many of the messages the queue keeps, and whether it confirms them.
    async fn exchange(&self, messages: usize) -> Result<(usize, bool), EngineError> {
        let chance = &self.0.chance;
        pause(chance.travel()).await;
        if chance.happens(InjectedFault::PublishLost) {
            self.0.trace.note("fault", || "PublishLost".to_owned());
            pause(chance.some_time(CONFIRM_MAX)).await;
            return Err(Self::unavailable("not reached"));
        }
        if chance.happens(InjectedFault::PublishUnconfirmed) {
            self.0.trace.note("fault", || "PublishUnconfirmed".to_owned());
            let kept = chance.place(messages + 1);
            return Ok((kept, false));
        }
        Ok((messages, true))
    }

    async fn confirm(&self, confirmed: bool) -> Result<(), EngineError> {
        let chance = &self.0.chance;
        pause(if confirmed { chance.travel() } else { chance.some_time(CONFIRM_MAX) }).await;
        if confirmed { Ok(()) } else { Err(Self::unavailable("not confirmed")) }
    }
}

impl SimQueueState {
    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn remove(&mut self, number: u64) -> Option<SimJob> {
        self.ready.retain(|ready| *ready != number);
        self.copies.remove(&number)
    }
}
