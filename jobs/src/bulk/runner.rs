//! The runner: carries out confirmed operations, at their rates.
//!
//! Guarantees: items are noted as in hand before anything is done to them, and counted in the write that takes them out
//! of it, on the version that was read. So of two runners one goes on, and an item is counted once; after a crash those
//! in hand are done again, and one of them that does not match any more counts as done. Another runner takes over
//! [`LEASE`] after the last write of an operation, by its own clock. Does not speed up after a pause.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::{
    Ambient, Timestamp,
    time::{between, later},
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    items::Items,
    operation::Operation,
    work::{Work, can_pass, put},
};
use crate::{
    engine::EngineError,
    error::describe,
    id::OperationId,
    job_store::{OperationState, Operations},
};

/// How long another runner waits for a write of the one that carries out an operation.
pub const LEASE: Duration = Duration::from_secs(30);
/// Interval of looking for operations.
const PASS_EVERY: Duration = Duration::from_secs(1);

/// One of the runners over a job store.
pub struct OperationRunner {
    store: Arc<dyn Operations>,
    items: Vec<Arc<dyn Items>>,
    name: String,
    ambient: Ambient,
    /// Version of an operation that another runner carries out, and since when it is the same.
    seen: HashMap<OperationId, (i64, Timestamp)>,
    /// Time of the last step.
    stepped: HashMap<OperationId, Timestamp>,
}

/// A part of an operation.
#[derive(Debug)]
pub struct Step {
    /// The operation after it.
    pub operation: Operation,
    /// Items it was done to.
    pub done: Vec<String>,
}

impl OperationRunner {
    /// A runner of this name, which must be unique among those that run and tells an operator the process. Operations
    /// for items of another kind are left to other runners.
    pub fn new(
        store: Arc<dyn Operations>,
        items: Vec<Arc<dyn Items>>,
        name: impl Into<String>,
        ambient: Ambient,
    ) -> Self {
        let (seen, stepped) = (HashMap::new(), HashMap::new());
        Self { store, items, name: name.into(), ambient, seen, stepped }
    }

    /// Runs until the token is cancelled, then leaves its operations to others at once.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = interval(PASS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            match self.pass().await {
                Err(error) if well => {
                    well = false;
                    if error.is_transient() {
                        tracing::warn!(error = describe(&error), "bulk operations delayed, retrying");
                    } else {
                        tracing::error!(error = describe(&error), "bulk operations failed, retrying");
                    }
                }
                Ok(()) if !well => {
                    well = true;
                    tracing::info!("bulk operations resumed");
                }
                _ => {}
            }
        }
        if let Err(error) = self.leave().await {
            tracing::warn!(
                error = describe(&error),
                "bulk operations not left; another runner continues later"
            );
        }
    }

    /// A step of each operation that this runner may carry out, oldest first.
    ///
    /// # Errors
    /// The store or the engine failed; what was not done is done in a later pass.
    pub async fn pass(&mut self) -> Result<(), EngineError> {
        let operations = self.running().await?;
        let runs = |id: &OperationId| operations.iter().any(|operation| operation.id == *id);
        self.seen.retain(|id, _| runs(id));
        self.stepped.retain(|id, _| runs(id));
        let mut outcome = Ok(());
        for operation in operations {
            outcome = outcome.and(self.step(operation).await.map(drop));
        }
        outcome
    }

    /// Carries out as much of an operation as its rate allows since the last step, a second's worth at most; nothing
    /// while another runner does. The operation is as it was read, confirmed or written by the last step.
    ///
    /// # Errors
    /// As for [`Self::pass`]; of the items that were in hand it is not known which are done.
    pub async fn step(&mut self, operation: Operation) -> Result<Step, EngineError> {
        let mut step = Step { operation, done: Vec::new() };
        let Step { operation, done } = &mut step;
        let now = self.ambient.now();
        let room = self.room(operation, now);
        let is_free = operation.state == OperationState::Running && self.may_take(operation, now);
        let items = self.items.iter().find(|items| items.name() == operation.plan.items).cloned();
        let Some(items) = items.filter(|_| is_free && room > 0) else { return Ok(step) };
        self.stepped.insert(operation.id, now);
        let (store, items) = (self.store.as_ref(), items.as_ref());
        let work = Work { store, items, name: &self.name, ambient: &self.ambient };
        if let Err(error) = work.carry_out(operation, room, done).await {
            if can_pass(&error) {
                return Err(error);
            }
            let text = describe(&error);
            tracing::error!(operation.id = %operation.id, error = text, "bulk operation failed");
            operation.last_error = Some(text);
            work.end(operation, OperationState::Failed).await?;
        }
        Ok(step)
    }

    /// Operations to carry out, oldest first.
    async fn running(&self) -> Result<Vec<Operation>, EngineError> {
        let rows = self.store.operations(Some(OperationState::Running)).await?;
        Ok(rows.iter().rev().filter_map(|row| Operation::read(row).ok()).collect())
    }

    /// Most items of this step. The first one is a second's worth.
    fn room(&self, operation: &Operation, now: Timestamp) -> u32 {
        let rate = operation.plan.rate;
        // A clock that was set back must not hold up the operation.
        let Some(last) = self.stepped.get(&operation.id).filter(|last| **last <= now) else { return rate };
        let millis = u64::try_from(between(*last, now).as_millis()).unwrap_or(u64::MAX);
        let earned = u64::from(rate).saturating_mul(millis).saturating_add(500) / 1000;
        u32::try_from(earned).unwrap_or(u32::MAX).min(rate)
    }

    /// Whether no other runner that lives carries out the operation.
    fn may_take(&mut self, operation: &Operation, now: Timestamp) -> bool {
        if operation.holder().is_none_or(|holder| holder == self.name) {
            return true;
        }
        let seen = self.seen.entry(operation.id).or_insert((operation.version, now));
        if seen.0 != operation.version || now < seen.1 {
            *seen = (operation.version, now);
        }
        now >= later(seen.1, LEASE)
    }

    /// Lets other runners go on without a wait.
    async fn leave(&self) -> Result<(), EngineError> {
        for mut operation in self.running().await? {
            if operation.holder() == Some(self.name.as_str()) {
                operation.position.holder = None;
                put(self.store.as_ref(), &mut operation).await?;
            }
        }
        Ok(())
    }
}
