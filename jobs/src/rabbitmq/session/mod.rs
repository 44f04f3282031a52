//! One life of a consumer's connection: three subscriptions in, deliveries out, outcomes back.
//!
//! Each class has a channel, so that an error or the broker's delivery timeout in one does not take the others'
//! deliveries along. Each may hold as many as the consumer's prefetch; of what is here, the highest class is handed
//! out first, and never more than the prefetch in all. Lower classes that wait here for long go back to their queue.
//!
//! Read on in `lane` and `window` for acknowledgements, `outcome` for all that is more than one.

mod coalesce;
mod control;
mod receive;
mod settle;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::FutureExt;
use lapin::{Connection, message::Delivery as RabbitDelivery};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, Interval, sleep_until, timeout},
};

use self::{coalesce::Coalescer, receive::next_deliveries, settle::Settled};
use super::{
    RabbitClient,
    consumer::{Command, ConsumerShared},
    fault::{answer, unavailable},
    outcome::{DeliveryOutcome, Settling},
    priority_channel::{DeliveryStage, PriorityChannel, Slot},
    topology,
};
use crate::{
    engine::{Delivery, EngineError, Interrupt},
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
    pub(super) inner: Arc<RabbitClient>,
    pub(super) shared: Arc<ConsumerShared>,
    pub(super) name: String,
    pub(super) prefetch: u16,
    pub(super) deliveries: mpsc::Sender<Delivery>,
}

/// Why a session ended.
pub(super) enum SessionEnd {
    Closed(oneshot::Sender<Result<(), EngineError>>, Result<(), EngineError>),
    /// The consumer is gone.
    Dropped,
    Lost(EngineError),
}

pub(super) struct ConsumerSession<'p> {
    plan: &'p Plan,
    id: u64,
    connection: Connection,
    channels: Vec<PriorityChannel>,
    handed_out: usize,
    settling: JoinSet<Settled>,
    control: watch::Receiver<Arc<Control>>,
    freed: watch::Receiver<()>,
    stopped: watch::Receiver<bool>,
    look: Interval,
    looks: u32,
    flush_at: Option<Instant>,
    pace: Coalescer,
    inbox: Vec<Command>,
    arrivals: Vec<(usize, RabbitDelivery)>,
    noted: Option<(u64, i64)>,
}

impl<'p> ConsumerSession<'p> {
    /// Connects, makes sure of the queues and subscribes.
    pub(super) async fn open(plan: &'p Plan) -> Result<Self, EngineError> {
        let (inner, shared) = (&plan.inner, &plan.shared);
        let connection = inner.address.connect(&format!("{} consumes", plan.name)).await?;
        let channel = answer(connection.create_channel()).await?;
        topology::declare(&channel, &shared.queue).await?;
        let mut lanes = Vec::with_capacity(Priority::ALL.len());
        for class in Priority::ALL {
            lanes.push(
                PriorityChannel::open(&connection, &shared.queue, class, &plan.name, plan.prefetch).await?,
            );
        }
        let mut id = [0; 8];
        inner.ambient.fill(&mut id);
        let mut session = Self {
            plan,
            id: u64::from_le_bytes(id),
            connection,
            channels: lanes,
            handed_out: 0,
            settling: JoinSet::new(),
            control: inner.control.subscribe(),
            freed: inner.keys.subscribe(),
            stopped: shared.stopped.subscribe(),
            look: tokio::time::interval(LOOK_EVERY),
            looks: 0,
            flush_at: None,
            pace: Coalescer::new(plan.prefetch, Instant::now()),
            inbox: Vec::new(),
            arrivals: Vec::new(),
            noted: None,
        };
        shared.session.store(session.id, Ordering::Relaxed);
        session.follow_control().await?;
        Ok(session)
    }

    /// Works until the consumer or the connection ends.
    pub(super) async fn run(mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> SessionEnd {
        let end = loop {
            match self.step(commands).await {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(error) => break SessionEnd::Lost(error),
            }
        };
        let end = match end {
            SessionEnd::Closed(reply, _) => {
                let closed = self.close().await;
                SessionEnd::Closed(reply, closed)
            }
            SessionEnd::Dropped | SessionEnd::Lost(_) => end,
        };
        self.shutdown().await;
        end
    }

    async fn step(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<Option<SessionEnd>, EngineError> {
        let (flush_at, rests_until) = (self.flush_at, self.pace.rests_until());
        tokio::select! {
            biased;
            count = commands.recv_many(&mut self.inbox, BATCH_MAX) => {
                if count == 0 {
                    return Ok(Some(SessionEnd::Dropped));
                }
                if let Some(end) = self.take_commands().await? {
                    return Ok(Some(end));
                }
                // At full speed both have something every time: one turn for both halves the rest of a turn.
                if rests_until.is_none()
                    && let Some(got) = next_deliveries(&mut self.channels, &mut self.arrivals).now_or_never()
                {
                    got?;
                    self.take_in()?;
                }
            }
            () = sleep_until(rests_until.unwrap_or_else(Instant::now)), if rests_until.is_some() => self.pace.rested(),
            got = next_deliveries(&mut self.channels, &mut self.arrivals), if rests_until.is_none() => {
                got?;
                self.take_in()?;
            }
            Some(settled) = self.settling.join_next() => self.settled(settled)?,
            () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => {}
            changed = self.control.changed() => if changed.is_ok() { self.follow_control().await? },
            changed = self.stopped.changed() => if changed.is_ok() { self.follow_control().await? },
            changed = self.freed.changed() => if changed.is_ok() { self.unblock() },
            _ = self.look.tick() => self.look().await?,
        }
        self.dispatch();
        self.flush()?;
        Ok(None)
    }

    async fn take_commands(&mut self) -> Result<Option<SessionEnd>, EngineError> {
        let mut inbox = std::mem::take(&mut self.inbox);
        let mut end = None;
        for command in inbox.drain(..) {
            match command {
                Command::Settle(receipt, settlement) => self.settle(receipt, settlement),
                Command::Held(id, reply) => drop(reply.send(self.held(id))),
                Command::Obey(reply) => {
                    self.follow_control().await?;
                    let _ = reply.send(());
                }
                // A second close before the first was seen: its reply is dropped, which answers it.
                Command::Close(reply) => end = end.or(Some(SessionEnd::Closed(reply, Ok(())))),
            }
        }
        self.inbox = inbox;
        Ok(end)
    }

    /// Watches the connection: a channel that the server closed may end no stream.
    async fn look(&mut self) -> Result<(), EngineError> {
        self.looks = self.looks.wrapping_add(1);
        if !self.connection.status().connected() {
            return Err(unavailable("the broker closed the connection"));
        }
        self.channels.iter().try_for_each(PriorityChannel::is_open)?;
        if self.looks.is_multiple_of(LOOKS_PER_PROBE) {
            let queue = topology::work_queue(&self.plan.shared.queue, Priority::Default);
            if topology::count(&self.channels[0].channel, &queue).await?.is_none() {
                return Err(unavailable(format!("queue `{queue}` is gone")));
            }
        }
        for lane in 0..self.channels.len() {
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

    /// Makes the last outcomes durable and gives the rest back.
    async fn close(&mut self) -> Result<(), EngineError> {
        self.stop_receiving().await?;
        for lane in 0..self.channels.len() {
            let open: Vec<u64> = self.channels[lane].window.open().map(|(tag, _)| tag).collect();
            for tag in open {
                self.conclude(lane, tag, DeliveryOutcome::Again(None));
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
        for lane in &mut self.channels {
            lane.acknowledge(true, &self.plan.shared)?;
            // Its answer comes after the broker has taken the acknowledgements before it.
            answer(lane.channel.close(200, "closed".into())).await?;
        }
        outcomes
    }

    /// Tells the runs that are still under way that their deliveries are lost, and ends the connection.
    async fn shutdown(&mut self) {
        self.settling.abort_all();
        for lane in &mut self.channels {
            for (_, slot) in lane.window.open() {
                if slot.stage == DeliveryStage::Running {
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
