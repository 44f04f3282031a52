//! One life of a consumer's connection: three subscriptions in, deliveries out, outcomes back.
//!
//! Each class has a channel, so that an error or the broker's delivery timeout in one does not take the others'
//! deliveries along. Each may hold as many as the consumer's prefetch; of what is here, the highest class is handed
//! out first, and never more than the prefetch in all. Lower classes that wait here for long go back to their queue.
//!
//! Read on in `lane` and `window` for acknowledgements, `outcome` for all that is more than one.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use lapin::{Connection, message::Delivery as RabbitDelivery};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, Interval, sleep_until, timeout},
};

use super::{
    Inner,
    consumer::{Command, Shared},
    fault::{answer, unavailable},
    lane::{Lane, Slot, Stage},
    message::{self, Raw},
    outcome::{Outcome, Settling},
    topology,
};
use crate::{
    engine::{
        CRASHES_MAX, DeadReason, Delivery, EngineError, HeldJob, HeldState, Interrupt, JobSignal, Receipt,
        Settlement,
    },
    envelope::JobId,
    job::Priority,
    job_store::{ConsumerNote, Control},
};

/// Longest wait for the last outcomes when closing.
const CLOSE_MAX: Duration = Duration::from_secs(8);
/// Finished deliveries are acknowledged after this long, or once there are enough of them.
const FLUSH_AFTER: Duration = Duration::from_millis(5);
const FLUSH_AT_MAX: usize = 64;
/// How often to look at channels and connection, and after how many looks to ask the broker itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOKS_PER_PROBE: u32 = 5;
const LOOKS_PER_NOTE: u32 = 5;
/// A delivery that waits here for so long goes back to its queue, far from the broker's timeout of 30 minutes.
const WAIT_MAX: Duration = Duration::from_mins(5);
/// How long a job stays away whose key is taken, once too many such jobs are held.
const ASIDE: Duration = Duration::from_secs(1);
/// Commands and deliveries taken in one go.
const BATCH_MAX: usize = 256;

/// What a session is made with.
pub(super) struct Plan {
    pub(super) inner: Arc<Inner>,
    pub(super) shared: Arc<Shared>,
    pub(super) name: String,
    pub(super) prefetch: u16,
    pub(super) deliveries: mpsc::Sender<Delivery>,
}

/// Why a session ended.
pub(super) enum End {
    Closed(oneshot::Sender<Result<(), EngineError>>, Result<(), EngineError>),
    /// The consumer is gone.
    Dropped,
    Lost(EngineError),
}

/// A delivery whose outcome is durable.
struct Settled {
    lane: usize,
    tag: u64,
}

pub(super) struct Session<'p> {
    plan: &'p Plan,
    id: u64,
    connection: Connection,
    lanes: Vec<Lane>,
    handed_out: usize,
    settling: JoinSet<Settled>,
    control: watch::Receiver<Arc<Control>>,
    freed: watch::Receiver<()>,
    stopped: watch::Receiver<bool>,
    look: Interval,
    looks: u32,
    flush_at: Option<Instant>,
    inbox: Vec<Command>,
    arrivals: Vec<(usize, RabbitDelivery)>,
    noted: Option<(u64, i64)>,
}

impl<'p> Session<'p> {
    /// Connects, makes sure of the queues and subscribes.
    pub(super) async fn open(plan: &'p Plan) -> Result<Self, EngineError> {
        let (inner, shared) = (&plan.inner, &plan.shared);
        let connection = inner.address.connect(&format!("{} consumes", plan.name)).await?;
        let channel = answer(connection.create_channel()).await?;
        topology::declare(&channel, &shared.queue).await?;
        let mut lanes = Vec::with_capacity(Priority::ALL.len());
        for class in Priority::ALL {
            lanes.push(Lane::open(&connection, &shared.queue, class, &plan.name, plan.prefetch).await?);
        }
        let mut id = [0; 8];
        inner.ambient.fill(&mut id);
        let mut session = Self {
            plan,
            id: u64::from_le_bytes(id),
            connection,
            lanes,
            handed_out: 0,
            settling: JoinSet::new(),
            control: inner.control.subscribe(),
            freed: inner.keys.subscribe(),
            stopped: shared.stopped.subscribe(),
            look: tokio::time::interval(LOOK_EVERY),
            looks: 0,
            flush_at: None,
            inbox: Vec::new(),
            arrivals: Vec::new(),
            noted: None,
        };
        shared.session.store(session.id, Ordering::Relaxed);
        session.obey().await?;
        Ok(session)
    }

    /// Works until the consumer or the connection ends.
    pub(super) async fn run(mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> End {
        let end = loop {
            match self.step(commands).await {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(error) => break End::Lost(error),
            }
        };
        let end = match end {
            End::Closed(reply, _) => {
                let closed = self.close().await;
                End::Closed(reply, closed)
            }
            End::Dropped | End::Lost(_) => end,
        };
        self.let_go().await;
        end
    }

    async fn step(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<Option<End>, EngineError> {
        let flush_at = self.flush_at;
        tokio::select! {
            biased;
            count = commands.recv_many(&mut self.inbox, BATCH_MAX) => {
                if count == 0 {
                    return Ok(Some(End::Dropped));
                }
                if let Some(end) = self.take_commands().await? {
                    return Ok(Some(end));
                }
            }
            got = next_deliveries(&mut self.lanes, &mut self.arrivals) => {
                got?;
                let mut arrivals = std::mem::take(&mut self.arrivals);
                arrivals.drain(..).try_for_each(|(lane, delivery)| self.arrived(lane, delivery))?;
                self.arrivals = arrivals;
            }
            Some(settled) = self.settling.join_next() => self.settled(settled)?,
            () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => {}
            changed = self.control.changed() => if changed.is_ok() { self.obey().await? },
            changed = self.stopped.changed() => if changed.is_ok() { self.obey().await? },
            changed = self.freed.changed() => if changed.is_ok() { self.unblock() },
            _ = self.look.tick() => self.look().await?,
        }
        self.hand_out();
        self.flush()?;
        Ok(None)
    }

    async fn take_commands(&mut self) -> Result<Option<End>, EngineError> {
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut end = None;
        for command in inbox.drain(..) {
            match command {
                Command::Settle(receipt, settlement) => self.settle(receipt, settlement),
                Command::Held(id, reply) => drop(reply.send(self.held(id))),
                Command::Obey(reply) => {
                    self.obey().await?;
                    let _ = reply.send(());
                }
                // A second close before the first was seen: its reply is dropped, which answers it.
                Command::Close(reply) => end = end.or(Some(End::Closed(reply, Ok(())))),
            }
        }
        self.inbox = inbox;
        Ok(end)
    }

    /// Subscribes or unsubscribes as pauses and stops ask for, and ends jobs that were cancelled.
    async fn obey(&mut self) -> Result<(), EngineError> {
        let control = self.control.borrow_and_update().clone();
        let stopped = *self.stopped.borrow_and_update();
        if stopped || control.paused.contains(&self.plan.shared.queue) {
            self.quiesce().await?;
        } else {
            for lane in self.lanes.iter_mut().filter(|lane| lane.consumer.is_none()) {
                lane.subscribe().await?;
            }
        }
        if !control.cancels.is_empty() {
            self.end_cancelled(&control);
        }
        Ok(())
    }

    /// Takes nothing more, and gives back what was not handed out.
    async fn quiesce(&mut self) -> Result<(), EngineError> {
        for lane in 0..self.lanes.len() {
            for delivery in self.lanes[lane].unsubscribe().await? {
                self.arrived(lane, delivery)?;
            }
            self.give_back(lane, |_| true);
        }
        Ok(())
    }

    fn give_back(&mut self, lane: usize, which: impl Fn(&Slot) -> bool) {
        let open = self.lanes[lane].window.open();
        let waiting = open.filter(|(_, slot)| matches!(slot.stage, Stage::Waiting(_)) && which(slot));
        let waiting: Vec<u64> = waiting.map(|(tag, _)| tag).collect();
        for tag in waiting {
            self.conclude(lane, tag, Outcome::Again(None));
        }
    }

    fn end_cancelled(&mut self, control: &Control) {
        for lane in 0..self.lanes.len() {
            let open = self.lanes[lane].window.open();
            let cancelled = open.filter(|(_, slot)| control.cancels.contains_key(&slot.id));
            let cancelled: Vec<u64> = cancelled.map(|(tag, _)| tag).collect();
            for tag in cancelled {
                let Some(slot) = self.lanes[lane].window.get(tag) else { continue };
                match slot.stage {
                    Stage::Running => slot.signal.fire(Interrupt::Cancelled),
                    Stage::Waiting(_) => self.conclude(lane, tag, Outcome::Ended),
                    Stage::Settling => {}
                }
            }
        }
    }

    fn arrived(&mut self, lane: usize, delivery: RabbitDelivery) -> Result<(), EngineError> {
        let shared = &self.plan.shared;
        shared.held.fetch_add(1, Ordering::Relaxed);
        let tag = delivery.delivery_tag;
        let raw = Raw { properties: delivery.properties, body: delivery.data };
        let (slot, outcome) = self.judge(raw, self.lanes[lane].class);
        let lane_mut = &mut self.lanes[lane];
        if !lane_mut.window.push(tag, slot) {
            return Err(unavailable(format!("delivery {tag} came out of turn")));
        }
        match outcome {
            None => lane_mut.ready.push_back(tag),
            Some(outcome) => self.conclude(lane, tag, outcome),
        }
        Ok(())
    }

    /// A delivery to hand out, or what else becomes of it.
    fn judge(&self, raw: Raw, class: Priority) -> (Slot, Option<Outcome>) {
        let inner = &self.plan.inner;
        let mut slot = Slot::new(raw);
        let decoded = slot.raw.as_ref().map(|raw| message::decode(&self.plan.shared.queue, raw));
        let (mut envelope, meta) = match decoded {
            Some(Ok(decoded)) => decoded,
            Some(Err(error)) => {
                let fresh = JobId::fresh(&inner.ambient);
                let raw = slot.raw.as_ref();
                slot.id = raw.and_then(message::id_of).unwrap_or(fresh);
                tracing::error!(job.id = %slot.id, job.queue = self.plan.shared.queue, error, "parking an unreadable message");
                return (slot, Some(Outcome::Unreadable { error }));
            }
            None => return (slot, None),
        };
        envelope.priority = class;
        slot.id = envelope.id;
        slot.crashes = meta.crashes;
        slot.unique = envelope.unique_key.is_some();
        slot.key.clone_from(&envelope.concurrency_key);
        let reached = meta.not_before.map_or(envelope.created_at, |at| at.max(envelope.created_at));
        self.plan.shared.reached_ms.fetch_max(reached.as_millisecond(), Ordering::Relaxed);
        let early = meta.not_before.filter(|&at| at > inner.ambient.now());
        slot.stage = Stage::Waiting(Box::new(envelope));
        let outcome = if self.is_cancelled(slot.id) {
            Some(Outcome::Ended)
        } else if early.is_some() {
            Some(Outcome::Again(early))
        } else if slot.crashes > CRASHES_MAX {
            let error = format!("lost its consumer {} times", slot.crashes);
            Some(Outcome::Dead { reason: DeadReason::Crashed, error })
        } else {
            None
        };
        (slot, outcome)
    }

    fn is_cancelled(&self, id: JobId) -> bool {
        let control = self.control.borrow();
        !control.cancels.is_empty() && control.cancels.contains_key(&id)
    }

    /// Hands out what may start, highest class first.
    fn hand_out(&mut self) {
        for lane in 0..self.lanes.len() {
            while self.handed_out < usize::from(self.plan.prefetch) && self.plan.deliveries.capacity() > 0 {
                let Some(tag) = self.lanes[lane].ready.pop_front() else { break };
                if let Some(delivery) = self.start(lane, tag) {
                    self.handed_out += 1;
                    // There is room, seen above; a receiver that is gone leaves the job to the end of the session.
                    drop(self.plan.deliveries.try_send(delivery));
                }
            }
            // Too many that wait for a key would keep others out of the prefetch.
            let most = usize::from(self.plan.prefetch).div_ceil(2).max(1);
            while self.lanes[lane].blocked.len() > most
                && let Some(tag) = self.lanes[lane].blocked.pop_back()
            {
                let later = self.plan.inner.ambient.now() + ASIDE;
                self.conclude(lane, tag, Outcome::Again(Some(later)));
            }
        }
    }

    fn start(&mut self, lane: usize, tag: u64) -> Option<Delivery> {
        let (session, receipt_tag) = (self.id, tag << 2 | lane as u64);
        let keys = &self.plan.inner.keys;
        let Lane { window, blocked, .. } = &mut self.lanes[lane];
        let slot = window.get(tag)?;
        if !matches!(slot.stage, Stage::Waiting(_)) {
            return None;
        }
        if slot.key.as_ref().is_some_and(|key| !keys.take(key, session, receipt_tag)) {
            blocked.push_back(tag);
            return None;
        }
        let Stage::Waiting(envelope) = std::mem::replace(&mut slot.stage, Stage::Running) else {
            return None;
        };
        slot.handed_out = true;
        let receipt = Receipt { job: slot.id, tag: receipt_tag, session };
        Some(Delivery { envelope: *envelope, receipt, crashes: slot.crashes, signal: slot.signal.clone() })
    }

    fn unblock(&mut self) {
        for lane in &mut self.lanes {
            while let Some(tag) = lane.blocked.pop_back() {
                lane.ready.push_front(tag);
            }
        }
    }

    fn settle(&mut self, receipt: Receipt, settlement: Settlement) {
        let (tag, lane) = (receipt.tag >> 2, usize::try_from(receipt.tag & 3).unwrap_or(usize::MAX));
        let mine = receipt.session == self.id;
        let slot = self.lanes.get_mut(lane).filter(|_| mine).and_then(|lane| lane.window.get(tag));
        let Some(slot) = slot.filter(|s| s.id == receipt.job && matches!(s.stage, Stage::Running)) else {
            self.plan.shared.count_stale(1);
            return;
        };
        if let Some(key) = &slot.key {
            self.plan.inner.keys.free(key, self.id, receipt.tag);
        }
        let plain = !slot.unique;
        let cancelled = self.is_cancelled(receipt.job);
        let outcome = match settlement {
            Settlement::Done if plain && !cancelled => return self.finish(lane, tag),
            Settlement::Release if !cancelled && !*self.stopped.borrow() => return self.take_back(lane, tag),
            Settlement::Done | Settlement::Cancelled { .. } => Outcome::Ended,
            // After a cancel request every other outcome is final, too.
            _ if cancelled => Outcome::Ended,
            Settlement::Retry { at, error } => Outcome::Retry { at, error },
            Settlement::Snooze { at } => Outcome::Again(Some(at)),
            Settlement::Dead { reason, error } => Outcome::Dead { reason, error },
            Settlement::Release => Outcome::Again(None),
        };
        self.conclude(lane, tag, outcome);
    }

    /// A released job whose consumer goes on takes its turn again here, in its old place.
    fn take_back(&mut self, lane: usize, tag: u64) {
        let class = self.lanes[lane].class;
        let queue = &self.plan.shared.queue;
        let Some(slot) = self.lanes[lane].window.get(tag) else { return };
        let decoded = slot.raw.as_ref().and_then(|raw| message::decode(queue, raw).ok());
        let Some((mut envelope, _)) = decoded else { return };
        envelope.priority = class;
        slot.stage = Stage::Waiting(Box::new(envelope));
        // The old one may have fired.
        slot.signal = JobSignal::default();
        slot.handed_out = false;
        self.handed_out -= 1;
        self.lanes[lane].ready.push_front(tag);
    }

    /// Makes an outcome durable, then acknowledges.
    fn conclude(&mut self, lane: usize, tag: u64, outcome: Outcome) {
        let cancel_requested = self.lanes[lane].window.get(tag).is_some_and(|slot| {
            let id = slot.id;
            let control = self.control.borrow();
            control.cancels.contains_key(&id)
        });
        let class = self.lanes[lane].class;
        let Some(slot) = self.lanes[lane].window.get(tag) else { return };
        let Some(raw) = slot.raw.take() else { return };
        slot.stage = Stage::Settling;
        let settling = Settling {
            inner: self.plan.inner.clone(),
            shared: self.plan.shared.clone(),
            class,
            raw,
            id: slot.id,
            crashes: slot.crashes,
            unique: slot.unique,
            cancel_requested,
        };
        self.settling.spawn(async move {
            settling.run(outcome).await;
            Settled { lane, tag }
        });
    }

    fn settled(&mut self, settled: Result<Settled, tokio::task::JoinError>) -> Result<(), EngineError> {
        match settled {
            Ok(Settled { lane, tag }) => self.finish(lane, tag),
            // Its delivery would stay unacknowledged for good: the broker gives it out anew with the next session.
            Err(error) => return Err(unavailable(format!("an outcome was not settled: {error}"))),
        }
        Ok(())
    }

    fn finish(&mut self, lane: usize, tag: u64) {
        if let Some(slot) = self.lanes[lane].window.finish(tag)
            && slot.handed_out
        {
            self.handed_out -= 1;
        }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        let finished: usize = self.lanes.iter().map(|lane| lane.window.finished()).sum();
        let enough = usize::from(self.plan.prefetch / 4).clamp(1, FLUSH_AT_MAX);
        let now = Instant::now();
        if finished == 0 {
            self.flush_at = None;
        } else if finished >= enough || self.flush_at.is_some_and(|at| at <= now) {
            for lane in &mut self.lanes {
                lane.acknowledge(false, &self.plan.shared)?;
            }
            let behind = self.lanes.iter().any(|lane| lane.window.finished() > 0);
            self.flush_at = behind.then(|| now + FLUSH_AFTER);
        } else if self.flush_at.is_none() {
            self.flush_at = Some(now + FLUSH_AFTER);
        }
        Ok(())
    }

    /// Watches the connection: a channel that the server closed may end no stream.
    async fn look(&mut self) -> Result<(), EngineError> {
        self.looks = self.looks.wrapping_add(1);
        if !self.connection.status().connected() {
            return Err(unavailable("the broker closed the connection"));
        }
        self.lanes.iter().try_for_each(Lane::is_open)?;
        if self.looks.is_multiple_of(LOOKS_PER_PROBE) {
            let queue = topology::work_queue(&self.plan.shared.queue, Priority::Default);
            if topology::count(&self.lanes[0].channel, &queue).await?.is_none() {
                return Err(unavailable(format!("queue `{queue}` is gone")));
            }
        }
        for lane in 0..self.lanes.len() {
            self.give_back(lane, |slot| slot.since.elapsed() > WAIT_MAX);
        }
        match self.plan.shared.stalled() {
            Some(why) => drop(self.plan.shared.troubled(format!("outcomes wait: {why}"))),
            None => drop(self.plan.shared.well(self.plan.inner.ambient.now())),
        }
        if self.looks.is_multiple_of(LOOKS_PER_NOTE) {
            self.note();
        }
        Ok(())
    }

    /// Tells other processes how much is held here, when that has changed or is about to be forgotten.
    fn note(&mut self) {
        let shared = &self.plan.shared;
        let running = shared.held.load(Ordering::Relaxed) as u64;
        let state = (running, shared.reached_ms.load(Ordering::Relaxed));
        if self.noted == Some(state) && !self.looks.is_multiple_of(LOOKS_PER_NOTE * 4) {
            return;
        }
        self.noted = Some(state);
        let (inner, queue) = (self.plan.inner.clone(), shared.queue.clone());
        let note = ConsumerNote {
            session: self.id,
            name: self.plan.name.clone(),
            queue,
            running,
            reached_at: shared.reached_at(),
            at: inner.ambient.now(),
        };
        tokio::spawn(async move {
            if let Err(error) = inner.store.note(note).await {
                tracing::debug!(%error, "a consumer's note was not kept");
            }
        });
    }

    fn held(&mut self, id: Option<JobId>) -> Vec<HeldJob> {
        let queue = &self.plan.shared.queue;
        let open = self.lanes.iter().flat_map(|lane| lane.window.open());
        let wanted = open.filter(|(_, slot)| id.is_none_or(|id| slot.id == id));
        let job = |slot: &Slot| {
            let (envelope, meta) = message::decode(queue, slot.raw.as_ref()?).ok()?;
            let (crashes, last_error) = (slot.crashes, meta.last_error);
            Some(HeldJob { envelope, state: HeldState::Running, crashes, last_error, dead: None })
        };
        wanted.filter_map(|(_, slot)| job(slot)).collect()
    }

    /// Makes the last outcomes durable and gives the rest back.
    async fn close(&mut self) -> Result<(), EngineError> {
        self.quiesce().await?;
        for lane in 0..self.lanes.len() {
            let open: Vec<u64> = self.lanes[lane].window.open().map(|(tag, _)| tag).collect();
            for tag in open {
                self.conclude(lane, tag, Outcome::Again(None));
            }
        }
        let all = async {
            while let Some(settled) = self.settling.join_next().await {
                self.settled(settled)?;
            }
            Ok(())
        };
        let outcomes = match timeout(CLOSE_MAX, all).await {
            Ok(done) => done,
            Err(_) => Err(unavailable("the last outcomes are not durable")),
        };
        for lane in &mut self.lanes {
            lane.acknowledge(true, &self.plan.shared)?;
            // Its answer comes after the broker has taken the acknowledgements before it.
            answer(lane.channel.close(200, "closed".into())).await?;
        }
        outcomes
    }

    /// Tells the runs that are still under way that their deliveries are lost, and ends the connection.
    async fn let_go(&mut self) {
        self.settling.abort_all();
        for lane in &mut self.lanes {
            for (_, slot) in lane.window.open() {
                if matches!(slot.stage, Stage::Running) {
                    slot.signal.fire(Interrupt::LeaseLost);
                }
            }
        }
        self.plan.shared.held.store(0, Ordering::Relaxed);
        // Closed before the keys are free: another consumer must not get a job of a key that is still running here.
        if self.connection.status().connected() {
            drop(timeout(Duration::from_secs(1), self.connection.close(200, "closed".into())).await);
        }
        self.plan.inner.keys.free_all(self.id);
        let (inner, id) = (self.plan.inner.clone(), self.id);
        if self.noted.is_some() {
            tokio::spawn(async move { drop(inner.store.forget_consumer(id).await) });
        }
    }
}

impl Slot {
    fn new(raw: Raw) -> Self {
        Self {
            stage: Stage::Settling,
            raw: Some(raw),
            id: JobId(uuid::Uuid::nil()),
            crashes: 0,
            signal: JobSignal::default(),
            key: None,
            unique: false,
            handed_out: false,
            since: Instant::now(),
        }
    }
}

/// Whatever has arrived, highest class first; at least one. An ended subscription is an error: only the server ends
/// one that is still kept.
async fn next_deliveries(
    lanes: &mut [Lane],
    arrivals: &mut Vec<(usize, RabbitDelivery)>,
) -> Result<(), EngineError> {
    use futures::Stream;
    use std::{pin::Pin, task::Poll};

    std::future::poll_fn(|context| {
        for (index, lane) in lanes.iter_mut().enumerate() {
            let Some(consumer) = lane.consumer.as_mut() else { continue };
            while arrivals.len() < BATCH_MAX {
                match Pin::new(&mut *consumer).poll_next(context) {
                    Poll::Ready(Some(Ok(delivery))) => arrivals.push((index, delivery)),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(super::fault::broken(&error))),
                    Poll::Ready(None) => {
                        return Poll::Ready(Err(unavailable("the broker ended the subscription")));
                    }
                    Poll::Pending => break,
                }
            }
        }
        if arrivals.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await
}
