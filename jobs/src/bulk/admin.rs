//! Preview, confirmation and cancellation of operations, for commands and consoles; with or without a running runner.

use std::{sync::Arc, time::Duration};

use base::{Ambient, ErrorClass, time::earlier};

use super::{error::OperationError, items::Items, operation::Operation, plan::Plan};
use crate::{
    engine::EngineError,
    id::OperationId,
    job_store::{OperationState, Operations},
};

/// How long an ended operation is kept, counted from its preview.
pub const KEEP: Duration = Duration::from_hours(90 * 24);
/// How long a preview can be confirmed.
pub const PREVIEW_KEEP: Duration = Duration::from_hours(24);
/// Items after which a preview stops counting; the operation takes all.
pub const COUNT_MAX: u64 = 10_000;
/// Pages after which a preview stops counting.
const PAGES_MAX: usize = 200;
/// Most items of a page of a preview.
const PAGE: u32 = 500;
/// Items shown in a preview.
const SAMPLE: usize = 20;
/// Most writes of a request that others outrun.
const TRIES: usize = 20;

/// The operations of a job store, and the kinds of items they are for.
#[expect(missing_docs, reason = "the line above names the fields")]
#[derive(Clone, Copy)]
pub struct OperationAdmin<'a> {
    pub store: &'a dyn Operations,
    pub items: &'a [Arc<dyn Items>],
    pub ambient: &'a Ambient,
}

impl OperationAdmin<'_> {
    /// Counts what matches and stores the operation, to be confirmed. Changes nothing else.
    ///
    /// # Errors
    /// [`OperationError::Plan`] and [`OperationError::NothingMatches`] say what to do; then nothing is stored.
    pub async fn preview(&self, plan: Plan) -> Result<Operation, OperationError> {
        plan.check()?;
        let items = self.items_of(&plan)?;
        items.check(&plan)?;
        let now = self.ambient.now();
        let mut operation = Operation::new(OperationId::fresh(self.ambient), plan, now);
        operation.effect = items.effect(&operation.plan);
        operation.limits = items.limits(&operation).await?;
        count(items, &mut operation).await?;
        if operation.counts.matched == 0 {
            return Err(OperationError::NothingMatches(reasons(&operation)));
        }
        let row = operation.to_row().map_err(defect)?;
        if self.store.add_operation(row, earlier(now, PREVIEW_KEEP), earlier(now, KEEP)).await? {
            return Ok(operation);
        }
        Err(OperationError::TooManyOpen)
    }

    /// Has a previewed operation carried out, by the process of this name if one is given, else by any runner.
    pub async fn confirm(&self, id: OperationId, holder: Option<&str>) -> Result<Operation, OperationError> {
        self.change(id, |operation| {
            let state = operation.state;
            if state != OperationState::Previewed {
                let (expected, asked) = ("a previewed one", "confirmed");
                return Err(OperationError::State { id, state, expected, asked });
            }
            operation.state = OperationState::Running;
            operation.began_at = Some(self.ambient.now());
            operation.position.holder = holder.map(str::to_owned);
            Ok(())
        })
        .await
    }

    /// Ends an operation, once the items in hand are done.
    pub async fn cancel(&self, id: OperationId) -> Result<Operation, OperationError> {
        self.change(id, |operation| {
            let state = operation.state;
            if state.is_ended() {
                let (expected, asked) = ("one that has not ended", "cancelled");
                return Err(OperationError::State { id, state, expected, asked });
            }
            if operation.position.in_hand.is_empty() {
                operation.end(OperationState::Cancelled, self.ambient.now());
            } else {
                operation.is_cancelling = true;
            }
            Ok(())
        })
        .await
    }

    /// All operations, newest first; one that another release has written and this one cannot read is left out.
    pub async fn list(&self) -> Result<Vec<Operation>, OperationError> {
        let rows = self.store.operations(None).await?;
        Ok(rows.iter().filter_map(|row| Operation::read(row).ok()).collect())
    }

    /// One operation.
    pub async fn find(&self, id: OperationId) -> Result<Operation, OperationError> {
        let row = self.store.find_operation(id).await?;
        Operation::read(&row.ok_or(OperationError::Unknown(id))?)
    }

    fn items_of(&self, plan: &Plan) -> Result<&dyn Items, OperationError> {
        let items = self.items.iter().find(|items| items.name() == plan.items);
        items.map(|items| &**items).ok_or_else(|| {
            let known: Vec<&str> = self.items.iter().map(|items| items.name()).collect();
            OperationError::Plan(format!("no items `{}`; there are: {}", plan.items, known.join(", ")))
        })
    }

    /// Changes what is stored, from its present version.
    async fn change(
        &self,
        id: OperationId,
        change: impl Fn(&mut Operation) -> Result<(), OperationError>,
    ) -> Result<Operation, OperationError> {
        for _ in 0..TRIES {
            let mut operation = self.find(id).await?;
            change(&mut operation)?;
            let row = operation.to_row().map_err(defect)?;
            if self.store.put_operation(&row).await? {
                operation.version += 1;
                return Ok(operation);
            }
        }
        Err(OperationError::Raced(id))
    }
}

/// Counts what matches, up to a bound.
async fn count(items: &dyn Items, operation: &mut Operation) -> Result<(), EngineError> {
    let mut after: Option<String> = None;
    for _ in 0..PAGES_MAX {
        if operation.counts.matched >= COUNT_MAX {
            return Ok(());
        }
        let page = items.page(operation, after.as_deref(), PAGE).await?;
        operation.counts.matched += page.items.len() as u64;
        let room = SAMPLE.saturating_sub(operation.sample.len());
        operation.sample.extend(page.items.into_iter().take(room));
        if page.next.is_none() {
            operation.counts.is_exact = true;
            return Ok(());
        }
        after = page.next;
    }
    Ok(())
}

/// Why nothing matches, as far as it is known.
fn reasons(operation: &Operation) -> String {
    let mut reasons = operation.limits.clone();
    if !operation.counts.is_exact {
        reasons.push("not all could be looked at: name a queue, a state or a kind".to_owned());
    }
    reasons.into_iter().flat_map(|reason| ["; ".to_owned(), reason]).collect()
}

fn defect(error: serde_json::Error) -> EngineError {
    EngineError::new(ErrorClass::Defect, "job store", error)
}
