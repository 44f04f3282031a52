//! A consumer session, one connection: three subscriptions in, deliveries out, settlements back.
//!
//! Each priority has a channel, as a limit of deliveries and their tags belong to one. An error of a channel, also the
//! broker's timeout of one delivery, ends the session and loses the deliveries of all: a new channel in its place would
//! use the old tags again, and the hung run would hold its slot all the same. Each may hold as many deliveries as the
//! consumer's prefetch; of those held, the highest priority is dispatched first, but for the share of the lower ones,
//! and never more than the prefetch in all. Deliveries that wait here for long go back to their queue, soon if another
//! consumer may start them. A session that loses its connection or a channel ends, and its consumer with it.
//!
//! Acknowledgements are in `priority_channel` and `window`, all other settlements in `outcome`.

mod before_start;
mod coalesce;
mod control;
mod hoard;
mod probe;
mod receive;
mod settle;
mod state;

use std::{sync::atomic::Ordering, time::Duration};

use futures::FutureExt;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use self::receive::{next_deliveries, receipt_tag};
pub(super) use self::state::{ConsumerSession, Plan};
use super::{
    consumer::Command,
    keys::LostRun,
    priority_channel::{DeliveryStage, PriorityChannel, Slot},
};
use crate::{
    engine::{EngineError, Interrupt, Receipt},
    envelope::JobId,
    error::describe,
    job_store::ConsumerNote,
    rabbitmq::wire::fault::{answer, unavailable},
};

/// Longest wait for the last settlements at a close.
const CLOSE_MAX: Duration = Duration::from_secs(8);
/// Number of checks of the connection after which the broker is queried and the consumer's note is written.
const LOOKS_PER_PROBE: u32 = 5;
const LOOKS_PER_NOTE: u32 = 2;
/// The same for a note that has not changed, so that it does not expire.
const LOOKS_PER_RENEWAL: u32 = 20;
/// Longest wait for the deletion of the consumer's note.
const FORGET_MAX: Duration = Duration::from_secs(1);
/// Longest wait of a delivery here before it goes back to its queue; far below the broker's timeout of 30 minutes.
const WAIT_MAX: Duration = Duration::from_mins(5);
/// Most commands handled in one step.
const COMMANDS_MAX: usize = 256;

enum SessionEnd {
    Closed(oneshot::Sender<Result<(), EngineError>>),
    Dropped,
    Lost(EngineError),
}

impl ConsumerSession {
    /// Runs until the consumer or the connection ends; sends the reason when the connection is `lost`.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        lost: oneshot::Sender<EngineError>,
    ) {
        let end = loop {
            match self.step(&mut commands).await {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(error) => break SessionEnd::Lost(error),
            }
        };
        let closed = match &end {
            SessionEnd::Closed(_) => self.close().await,
            SessionEnd::Lost(error) => {
                self.plan.shared.health.troubled(describe(error));
                Ok(())
            }
            SessionEnd::Dropped => Ok(()),
        };
        self.shutdown(matches!(end, SessionEnd::Lost(_))).await;
        dismiss(&self.plan, commands);
        match end {
            SessionEnd::Closed(reply) => drop(reply.send(closed)),
            SessionEnd::Lost(error) => drop(lost.send(error)),
            SessionEnd::Dropped => {}
        }
    }

    async fn step(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<Option<SessionEnd>, EngineError> {
        let (flush_at, rests_until) = (self.flush_at, self.pace.rests_until());
        tokio::select! {
            biased;
            count = commands.recv_many(&mut self.inbox, COMMANDS_MAX) => {
                if count == 0 {
                    return Ok(Some(SessionEnd::Dropped));
                }
                if let Some(end) = self.take_commands().await? {
                    return Ok(Some(end));
                }
                // At full speed both streams always have items: one step for both halves the overhead of a step.
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
            Some(answered) = self.asking.join_next() => self.store_answered(answered)?,
            Some(answered) = self.probes.join_next() => self.answered(answered).await?,
            () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => {}
            changed = self.control.changed() => if changed.is_ok() { self.follow_control().await? },
            changed = self.stopped.changed() => if changed.is_ok() { self.follow_control().await? },
            changed = self.freed.changed() => if changed.is_ok() { self.unblock() },
            _ = self.look.tick() => {
                self.look()?;
                self.widen().await?;
            }
        }
        self.dispatch();
        self.fill_free_slots().await?;
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
                Command::ApplyControl(reply) => {
                    self.follow_control().await?;
                    let _ = reply.send(());
                }
                // A second close in the same step: dropping its reply completes it.
                Command::Close(reply) => end = end.or(Some(SessionEnd::Closed(reply))),
            }
        }
        self.inbox = inbox;
        Ok(end)
    }

    /// Checks the connection: a channel closed by the server may not end its stream.
    fn look(&mut self) -> Result<(), EngineError> {
        self.looks = self.looks.wrapping_add(1);
        if !self.connection.status().connected() {
            return Err(unavailable("the broker closed the connection"));
        }
        self.channels.iter().try_for_each(PriorityChannel::is_open)?;
        if self.looks.is_multiple_of(LOOKS_PER_PROBE) {
            (0..self.channels.len()).for_each(|index| self.probe(index));
        }
        self.look_for_hoards();
        for channel in 0..self.channels.len() {
            let is_late =
                |slot: &Slot| slot.stage == DeliveryStage::Waiting && slot.since.elapsed() > WAIT_MAX;
            self.give_back(channel, is_late);
        }
        match self.plan.shared.stalled() {
            Some(why) => drop(self.plan.shared.health.troubled(format!("settlements delayed: {why}"))),
            None => self.plan.shared.health.recovered(),
        }
        if self.looks % LOOKS_PER_NOTE == 1 {
            self.note();
        }
        self.clear_ended();
        self.plan.inner.keys.forget_dropped();
        Ok(())
    }

    /// Writes the consumer's note for other processes when it has changed or would expire.
    fn note(&mut self) {
        // One after the other: an older note must not replace a newer one.
        if self.noting.as_ref().is_some_and(|noting| !noting.is_finished()) {
            return;
        }
        let shared = &self.plan.shared;
        let running = shared.held.load(Ordering::Relaxed) as u64;
        let jobs = self.jobs_to_note();
        let ids: Vec<JobId> = jobs.iter().map(|job| job.envelope.id).collect();
        let state = (running, shared.reached_ms.load(Ordering::Relaxed), ids);
        if self.noted.as_ref() == Some(&state) && self.looks % LOOKS_PER_RENEWAL != 1 {
            return;
        }
        self.noted = Some(state);
        let (inner, queue) = (self.plan.inner.clone(), shared.queue.clone());
        let note = ConsumerNote {
            session: self.id,
            name: self.plan.name.clone(),
            queue,
            running,
            jobs,
            reached_at: shared.reached_at(),
            at: inner.ambient.now(),
        };
        self.noting = Some(tokio::spawn(async move {
            if let Err(error) = inner.store.note(note).await {
                tracing::debug!(error = describe(&error), "consumer note not stored");
            }
        }));
    }

    /// Deletes what ended jobs have left in the job store while it was away, one attempt at a time.
    fn clear_ended(&mut self) {
        let due = !self.plan.inner.uncleared.lock().is_empty();
        if due && self.clearing.as_ref().is_none_or(JoinHandle::is_finished) {
            let inner = self.plan.inner.clone();
            self.clearing = Some(tokio::spawn(async move { inner.clear_ended().await }));
        }
    }

    /// Makes the last settlements durable and releases the other jobs.
    async fn close(&mut self) -> Result<(), EngineError> {
        self.stop_receiving().await?;
        for channel in 0..self.channels.len() {
            self.give_back(channel, |_| true);
        }
        let all = async {
            while let Some(settled) = self.settling.join_next().await {
                self.settled(settled)?;
            }
            Ok(())
        };
        let outcomes = match timeout(CLOSE_MAX, all).await {
            Ok(done) => done,
            Err(_) => Err(unavailable("the last settlements are not durable")),
        };
        for channel in &mut self.channels {
            channel.acknowledge(true, &self.plan.shared)?;
            // The reply to the close follows the broker's handling of the acknowledgements before it.
            answer(channel.channel.close(200, "closed".into())).await?;
        }
        outcomes
    }

    /// Fires [`Interrupt::LeaseLost`] at the jobs that still run; returns them.
    fn interrupt_runs(&self) -> Vec<LostRun> {
        let mut runs = Vec::new();
        for (index, channel) in self.channels.iter().enumerate() {
            let open = channel.window.open();
            for (tag, slot) in open.filter(|(_, slot)| slot.stage == DeliveryStage::Running) {
                slot.signal.fire(Interrupt::LeaseLost);
                let receipt = Receipt { job: slot.id, tag: receipt_tag(index, tag), session: self.id };
                runs.push(LostRun { receipt, signal: slot.signal.clone() });
            }
        }
        runs
    }

    /// Ends the connection after firing [`Interrupt::LeaseLost`] at the jobs that still run. Those of a lost session
    /// keep their keys.
    async fn shutdown(&mut self, is_lost: bool) {
        self.settling.abort_all();
        let runs = self.interrupt_runs();
        if is_lost {
            self.plan.inner.keys.keep(runs);
            if self.plan.shared.dropped.load(Ordering::SeqCst) {
                self.plan.inner.keys.ended_all(self.id);
            }
        }
        self.plan.shared.held.store(0, Ordering::Relaxed);
        // Closed before the keys are freed: another consumer must not receive a job whose key is still in use here.
        if self.connection.status().connected() {
            drop(timeout(Duration::from_secs(1), self.connection.close(200, "closed".into())).await);
        }
        self.plan.inner.solo.leave(self.id, None);
        self.plan.inner.keys.free_all(self.id);
        if let Some(noting) = self.noting.take() {
            // Waited for: the process may end with its last consumer.
            let forget = async {
                drop(noting.await);
                drop(self.plan.inner.store.forget_consumer(self.id).await);
            };
            let _ = timeout(FORGET_MAX, forget).await;
        }
    }
}

/// Answers the commands that came too late: no job is held any more.
fn dismiss(Plan { inner, shared, .. }: &Plan, mut commands: mpsc::UnboundedReceiver<Command>) {
    commands.close();
    while let Ok(command) = commands.try_recv() {
        match command {
            Command::Settle(receipt, _) => shared.settled_late(&inner.keys, receipt),
            Command::Held(_, reply) => drop(reply.send(Vec::new())),
            Command::ApplyControl(reply) => drop(reply.send(())),
            Command::Close(reply) => drop(reply.send(Ok(()))),
        }
    }
}
