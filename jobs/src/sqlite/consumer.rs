//! State shared by a consumer's settler and its driver: held jobs and health.
//!
//! Guarantees: a settlement is passed on only while its delivery is held under the same fencing token, and once.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use base::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::{claim::Claimed, settle::Settled};
use crate::{
    engine::{
        ConsumerHealth, Delivery, EngineError, Interrupt, JobSignal, Receipt, Settlement, Settler,
        SharedHealth,
    },
    envelope::JobId,
};

pub(super) enum Command {
    Settle(Settled),
    Close(oneshot::Sender<Result<(), EngineError>>),
}

/// Shared by settler, driver and engine.
pub(super) struct ConsumerShared {
    state: Mutex<ConsumerState>,
    pub(super) health: SharedHealth,
    pub(super) stopped: watch::Sender<bool>,
}

struct ConsumerState {
    session: i64,
    held: HashMap<JobId, RunningJob>,
}

struct RunningJob {
    sequence: i64,
    fence: i64,
    keyed: bool,
    settling: bool,
    signal: JobSignal,
}

impl ConsumerShared {
    pub(super) fn new(session: i64, now: Timestamp) -> Self {
        Self {
            state: Mutex::new(ConsumerState { session, held: HashMap::new() }),
            health: SharedHealth::new(now),
            stopped: watch::Sender::new(false),
        }
    }

    pub(super) fn session(&self) -> i64 {
        self.state.lock().session
    }

    pub(super) fn held(&self) -> usize {
        self.state.lock().held.len()
    }

    /// Sequence and fencing token of each held job, as a JSON array of pairs.
    pub(super) fn held_json(&self) -> String {
        let state = self.state.lock();
        let held = state.held.values().map(|held| [held.sequence, held.fence]);
        held.collect::<serde_json::Value>().to_string()
    }

    /// Adds claimed jobs to the held ones and returns their deliveries.
    pub(super) fn take_in(&self, jobs: Vec<Claimed>, fence: i64) -> Vec<Delivery> {
        let mut state = self.state.lock();
        let (session, tag) = (state.session.cast_unsigned(), fence.cast_unsigned());
        let deliver = |job: Claimed| {
            let signal = JobSignal::default();
            let id = job.envelope.id;
            let keyed = job.envelope.concurrency_key.is_some() || job.envelope.order_key.is_some();
            let held =
                RunningJob { sequence: job.sequence, fence, keyed, settling: false, signal: signal.clone() };
            state.held.insert(id, held);
            let receipt = Receipt { job: id, tag, session };
            Delivery { envelope: Arc::new(job.envelope), receipt, crashes: job.crashes, signal }
        };
        jobs.into_iter().map(deliver).collect()
    }

    /// Frees the slots of settled jobs. Returns true when one of them had a concurrency or an order key.
    pub(super) fn forget(&self, settled: &[Settled]) -> bool {
        let done: HashMap<i64, i64> = settled.iter().map(|s| (s.sequence, s.fence)).collect();
        let mut keyed = false;
        self.state.lock().held.retain(|_, held| {
            let gone = done.get(&held.sequence) == Some(&held.fence);
            keyed |= gone && held.keyed;
            !gone
        });
        keyed
    }

    /// Drops all held jobs and fires their signals. For a lost lease (`session` is the new one) and at the end.
    pub(super) fn lose_all(&self, session: i64) {
        let mut state = self.state.lock();
        state.session = session;
        for (_, held) in state.held.drain() {
            held.signal.fire(Interrupt::LeaseLost);
        }
    }

    /// Fires the signal of the held job with this row and fencing token.
    pub(super) fn fire(&self, sequence: i64, fence: i64, why: Interrupt) {
        let state = self.state.lock();
        if let Some(held) = state.held.values().find(|h| (h.sequence, h.fence) == (sequence, fence)) {
            held.signal.fire(why);
        }
    }

    /// Fires the signals of held jobs with a cancel request.
    pub(super) fn fire_cancelled(&self, sequences: &[i64]) {
        let state = self.state.lock();
        let cancelled = state.held.values().filter(|held| sequences.contains(&held.sequence));
        cancelled.for_each(|held| held.signal.fire(Interrupt::Cancelled));
    }

    /// The settlement as written to the file; `None` unless its delivery is held and not settled yet.
    fn accept(&self, receipt: Receipt, settlement: Settlement) -> Option<Settled> {
        let mut state = self.state.lock();
        let session = state.session.cast_unsigned();
        let held = state.held.get_mut(&receipt.job)?;
        let mine = receipt.session == session && receipt.tag == held.fence.cast_unsigned();
        if !mine || std::mem::replace(&mut held.settling, true) {
            return None;
        }
        Some(Settled { sequence: held.sequence, fence: held.fence, settlement })
    }
}

/// The consumer's end of the command channel. The driver learns from its drop that the consumer is gone.
pub(super) struct SqliteSettler {
    pub(super) shared: Arc<ConsumerShared>,
    /// Unbounded by type, bounded by the prefetch: [`ConsumerShared::accept`] passes each held job once.
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

#[async_trait]
impl Settler for SqliteSettler {
    fn settle(&self, receipt: Receipt, settlement: Settlement) {
        let sent = self.shared.accept(receipt, settlement).map(|s| self.commands.send(Command::Settle(s)));
        if !matches!(sent, Some(Ok(()))) {
            self.shared.health.count_stale(1);
        }
    }

    fn stop(&self) {
        self.shared.stopped.send_replace(true);
    }

    async fn close(&self) -> Result<(), EngineError> {
        self.stop();
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Close(reply)).is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Err(EngineError::Closed))
    }

    fn health(&self) -> ConsumerHealth {
        self.shared.health.read()
    }
}
