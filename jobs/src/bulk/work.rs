//! One step of an operation: takes items in hand, does the verb to them, counts what came of it.

use base::{Ambient, ErrorClass};
use futures::future::join_all;

use super::{
    items::{Acted, Items},
    operation::Operation,
};
use crate::{
    engine::EngineError,
    error::describe,
    job_store::{OperationState, Operations},
};

/// Most items in hand: what is repeated after a crash.
const IN_HAND_MAX: u32 = 500;
/// Items done at a time.
const AT_ONCE: usize = 16;
/// Most pages of one step.
const PAGES_MAX: usize = 20;
/// Most writes of a count that requests of operators outrun.
const TRIES: usize = 20;

type ItemOutcome = Result<Acted, String>;

/// What a step works with.
pub(super) struct Work<'a> {
    pub(super) store: &'a dyn Operations,
    pub(super) items: &'a dyn Items,
    /// Name of the runner.
    pub(super) name: &'a str,
    pub(super) ambient: &'a Ambient,
}

impl Work<'_> {
    /// Carries out up to `room` items; adds those that are done to `done`. Stops early where the operation has ended or
    /// is another runner's.
    pub(super) async fn carry_out(
        &self,
        operation: &mut Operation,
        mut room: u32,
        done: &mut Vec<String>,
    ) -> Result<(), EngineError> {
        let mut is_repeated = !operation.position.in_hand.is_empty();
        if is_repeated {
            operation.position.holder = Some(self.name.to_owned());
            if !put(self.store, operation).await? {
                return Ok(());
            }
        }
        for _ in 0..PAGES_MAX {
            if operation.position.in_hand.is_empty() {
                if operation.is_cancelling {
                    return self.end(operation, OperationState::Cancelled).await;
                }
                if room == 0 || !self.take_in_hand(operation, room).await? {
                    return Ok(());
                }
                if operation.position.in_hand.is_empty() {
                    continue;
                }
            }
            let outcomes = self.act(operation).await?;
            let ids = operation.position.in_hand.clone();
            if !self.note(operation, &outcomes, is_repeated).await? {
                return Ok(());
            }
            room = room.saturating_sub(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            let acted = ids.into_iter().zip(outcomes);
            done.extend(acted.filter(|(_, outcome)| *outcome == Ok(Acted::Done)).map(|(id, _)| id));
            is_repeated = false;
            if operation.state.is_ended() {
                return Ok(());
            }
        }
        // How far it has looked.
        put(self.store, operation).await.map(drop)
    }

    pub(super) async fn end(
        &self,
        operation: &mut Operation,
        state: OperationState,
    ) -> Result<(), EngineError> {
        operation.end(state, self.ambient.now());
        put(self.store, operation).await.map(drop)
    }

    /// Notes the next items, before anything is done to them. Returns whether the operation goes on here; there may be
    /// none among what was looked at.
    async fn take_in_hand(&self, operation: &mut Operation, room: u32) -> Result<bool, EngineError> {
        let after = operation.position.after.clone();
        let page = self.items.page(operation, after.as_deref(), room.min(IN_HAND_MAX)).await?;
        let position = &mut operation.position;
        position.holder = Some(self.name.to_owned());
        position.in_hand = page.items.into_iter().map(|item| item.id).collect();
        if !position.in_hand.is_empty() {
            position.then = page.next;
            return put(self.store, operation).await;
        }
        if page.next.is_none() {
            self.end(operation, OperationState::Done).await?;
            return Ok(false);
        }
        position.after = page.next;
        Ok(true)
    }

    /// Does the verb to the items in hand, some at a time.
    async fn act(&self, operation: &Operation) -> Result<Vec<ItemOutcome>, EngineError> {
        let mut outcomes = Vec::with_capacity(operation.position.in_hand.len());
        for ids in operation.position.in_hand.chunks(AT_ONCE) {
            for acted in join_all(ids.iter().map(|id| self.items.act(operation, id))).await {
                outcomes.push(match acted {
                    Err(error) if can_pass(&error) => return Err(error),
                    acted => acted.map_err(|error| describe(&error)),
                });
            }
        }
        Ok(outcomes)
    }

    /// Counts what came of the items in hand. Returns whether the operation is this runner's still.
    async fn note(
        &self,
        operation: &mut Operation,
        outcomes: &[ItemOutcome],
        is_repeated: bool,
    ) -> Result<bool, EngineError> {
        let taken = operation.position.clone();
        for _ in 0..TRIES {
            self.settle(operation, outcomes, is_repeated);
            if put(self.store, operation).await? {
                return Ok(true);
            }
            // An operator has asked it to end, or another runner has taken over.
            let Some(row) = self.store.find_operation(operation.id).await? else { return Ok(false) };
            let Ok(fresh) = Operation::read(&row) else { return Ok(false) };
            *operation = fresh;
            if operation.position != taken || operation.state != OperationState::Running {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Counts the items in hand, and ends the operation with its last ones.
    fn settle(&self, operation: &mut Operation, outcomes: &[ItemOutcome], is_repeated: bool) {
        let counts = &mut operation.counts;
        for outcome in outcomes {
            match outcome {
                Ok(Acted::Left) if !is_repeated => counts.skipped += 1,
                Ok(_) => counts.done += 1,
                Err(error) => {
                    counts.failed += 1;
                    operation.last_error = Some(error.clone());
                }
            }
        }
        operation.position.in_hand.clear();
        operation.position.after = operation.position.then.take();
        if operation.is_cancelling {
            operation.end(OperationState::Cancelled, self.ambient.now());
        } else if operation.position.after.is_none() {
            operation.end(OperationState::Done, self.ambient.now());
        }
    }
}

/// Writes the operation; returns whether it was as it had been read.
pub(super) async fn put(store: &dyn Operations, operation: &mut Operation) -> Result<bool, EngineError> {
    let row = operation.to_row();
    let row = row.map_err(|error| EngineError::new(ErrorClass::Defect, "job store", error))?;
    let is_written = store.put_operation(&row).await?;
    operation.version += i64::from(is_written);
    if is_written && operation.state.is_ended() {
        tracing::info!(
            operation.id = %operation.id,
            state = operation.state.as_str(),
            counts = ?operation.counts,
            "bulk operation ended"
        );
    }
    Ok(is_written)
}

/// Whether the same call may succeed later.
pub(super) fn can_pass(error: &EngineError) -> bool {
    error.is_transient() || matches!(error, EngineError::Closed)
}
