//! Queues as items of bulk operations: pause, resume and purge, one queue an operation.
//!
//! Guarantees: a pause of a paused queue matches nothing, and so does a resume of one that is not paused. Repeated
//! after a crash, a purge also deletes what was published meanwhile.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    error::OperationError,
    items::{Acted, ItemPage, Items},
    operation::{Item, Operation},
    plan::{Plan, Verb},
};
use crate::engine::{Admin, Depth, EngineError};

/// Name of these items.
pub const QUEUES: &str = "queues";
/// Delayed and dead jobs counted for a preview: one of a very long queue must not take longer than a statement may.
const COUNTED_MAX: u64 = 10_000;

/// The queues of an engine.
pub struct QueueItems {
    engine: Arc<dyn Admin>,
}

impl QueueItems {
    /// The queues of this engine.
    pub fn new(engine: Arc<dyn Admin>) -> Self {
        Self { engine }
    }

    /// The queue if it is there and as the operation wants it.
    async fn matching(&self, operation: &Operation, queue: &str) -> Result<Option<Depth>, EngineError> {
        let depth = match self.engine.depth_up_to(queue, COUNTED_MAX).await {
            Err(EngineError::NoSuchQueue(_)) => return Ok(None),
            depth => depth?,
        };
        let is_wanted = match operation.plan.verb {
            Verb::Pause => !depth.paused,
            Verb::Resume => depth.paused,
            _ => true,
        };
        Ok(Some(depth).filter(|_| is_wanted))
    }
}

#[async_trait]
impl Items for QueueItems {
    fn name(&self) -> &'static str {
        QUEUES
    }

    fn check(&self, plan: &Plan) -> Result<(), OperationError> {
        match plan.verb {
            Verb::Pause | Verb::Resume | Verb::Purge => plan.only_item().map(drop),
            _ => Err(OperationError::Plan(format!("{} is not for queues", plan.verb.name()))),
        }
    }

    async fn limits(&self, operation: &Operation) -> Result<Vec<String>, EngineError> {
        if operation.plan.verb == Verb::Purge && !self.engine.capabilities().lists_delayed {
            return Ok(vec!["jobs in short delays become ready and are left alone".to_owned()]);
        }
        Ok(Vec::new())
    }

    async fn page(&self, operation: &Operation, _: Option<&str>, _: u32) -> Result<ItemPage, EngineError> {
        let Some(queue) = operation.plan.filter.id.as_deref() else { return Ok(ItemPage::default()) };
        let found = self.matching(operation, queue).await?;
        Ok(ItemPage { items: found.iter().map(item).collect(), next: None })
    }

    async fn act(&self, operation: &Operation, item: &str) -> Result<Acted, EngineError> {
        if self.matching(operation, item).await?.is_none() {
            return Ok(Acted::Left);
        }
        match operation.plan.verb {
            Verb::Pause => self.engine.pause(item).await?,
            Verb::Resume => self.engine.resume(item).await?,
            Verb::Purge => {
                self.engine.purge(item).await?;
            }
            // Refused with the plan.
            _ => return Ok(Acted::Left),
        }
        Ok(Acted::Done)
    }
}

fn item(depth: &Depth) -> Item {
    let Depth { queue, ready, delayed, running, dead, .. } = depth;
    let (delayed, dead) = (counted(*delayed), counted(*dead));
    Item {
        id: queue.clone(),
        text: format!("{ready} ready, {delayed} delayed, {running} running, {dead} dead"),
    }
}

fn counted(jobs: u64) -> String {
    if jobs < COUNTED_MAX { jobs.to_string() } else { format!("{COUNTED_MAX} or more") }
}
