//! Schedules as items of bulk operations: pause, resume and run now, one schedule an operation.
//!
//! Guarantees: the job of a run has an id that follows from the operation, so a run that is repeated after a crash is
//! one job wherever the engine holds the first one.

use std::sync::Arc;

use async_trait::async_trait;
use base::Ambient;

use super::{
    error::OperationError,
    items::{Acted, ItemPage, Items},
    operation::{Item, Operation},
    plan::{Plan, Verb},
};
use crate::{
    engine::{EngineError, Publish},
    envelope::JobId,
    error::describe,
    job_store::{ScheduleRow, Schedules},
    records::RecordStore,
    schedule::{ScheduleAdmin, ScheduleError},
};

/// Name of these items.
pub const SCHEDULES: &str = "schedules";

/// The schedules of a job store.
pub struct ScheduleItems {
    store: Arc<dyn Schedules>,
    engine: Arc<dyn Publish>,
    records: Arc<dyn RecordStore>,
    ambient: Ambient,
}

impl ScheduleItems {
    /// The schedules of this store, whose runs this engine takes.
    pub fn new(
        store: Arc<dyn Schedules>,
        engine: Arc<dyn Publish>,
        records: Arc<dyn RecordStore>,
        ambient: Ambient,
    ) -> Self {
        Self { store, engine, records, ambient }
    }

    fn admin(&self) -> ScheduleAdmin<'_> {
        ScheduleAdmin {
            store: self.store.as_ref(),
            engine: self.engine.as_ref(),
            records: self.records.as_ref(),
            ambient: &self.ambient,
        }
    }

    /// The schedule if it is there and as the operation wants it.
    async fn matching(&self, operation: &Operation, name: &str) -> Result<Option<ScheduleRow>, EngineError> {
        let row = self.store.find_schedule(name).await?;
        Ok(row.filter(|row| match operation.plan.verb {
            Verb::Pause => !row.paused,
            Verb::Resume => row.paused,
            _ => true,
        }))
    }
}

#[async_trait]
impl Items for ScheduleItems {
    fn name(&self) -> &'static str {
        SCHEDULES
    }

    fn check(&self, plan: &Plan) -> Result<(), OperationError> {
        match plan.verb {
            Verb::Pause | Verb::Resume | Verb::Run => plan.only_item().map(drop),
            _ => Err(OperationError::Plan(format!("{} is not for schedules", plan.verb.name()))),
        }
    }

    async fn limits(&self, _: &Operation) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    async fn page(&self, operation: &Operation, _: Option<&str>, _: u32) -> Result<ItemPage, EngineError> {
        let Some(name) = operation.plan.filter.id.as_deref() else { return Ok(ItemPage::default()) };
        let found = self.matching(operation, name).await?;
        Ok(ItemPage { items: found.iter().map(item).collect(), next: None })
    }

    async fn act(&self, operation: &Operation, item: &str) -> Result<Acted, EngineError> {
        if self.matching(operation, item).await?.is_none() {
            return Ok(Acted::Left);
        }
        let admin = self.admin();
        let acted = match operation.plan.verb {
            Verb::Pause => admin.pause(item).await,
            Verb::Resume => admin.resume(item).await,
            Verb::Run => {
                let id = JobId::derived(operation.id.0, item);
                admin.run_as(item, id).await.map(drop)
            }
            // Refused with the plan.
            _ => return Ok(Acted::Left),
        };
        match acted {
            Ok(()) => Ok(Acted::Done),
            Err(ScheduleError::Store(error)) => Err(error),
            Err(error) => Err(EngineError::Refused(describe(&error))),
        }
    }
}

fn item(row: &ScheduleRow) -> Item {
    let state = if row.paused { "paused" } else { "active" };
    let last = row.last_fire_at.map_or_else(|| "no run yet".to_owned(), |at| format!("last run {at}"));
    Item { id: row.name.clone(), text: format!("{state}, {last}") }
}
