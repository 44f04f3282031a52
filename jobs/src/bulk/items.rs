//! The contract of a kind of items that operations are carried out on.

use async_trait::async_trait;

use super::{
    error::OperationError,
    operation::{Item, Operation},
    plan::Plan,
};
use crate::engine::EngineError;

/// A page of a listing.
#[derive(Debug, Default)]
pub struct ItemPage {
    /// Matching items; may be none although others follow.
    pub items: Vec<Item>,
    /// Position after them and after what was looked at beside them; `None` when nothing follows.
    pub next: Option<String>,
}

/// What came of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acted {
    /// The verb was done to it.
    Done,
    /// It did not match any more.
    Left,
}

/// A kind of items, such as jobs. Listings have an order that no operation changes, so that each item comes once.
#[async_trait]
pub trait Items: Send + Sync + 'static {
    /// Name in plans.
    fn name(&self) -> &'static str;

    /// Checks that verb and filter fit these items.
    ///
    /// # Errors
    /// [`OperationError::Plan`] with a text that says what to do.
    fn check(&self, plan: &Plan) -> Result<(), OperationError>;

    /// What is done to each item, in words.
    fn effect(&self, plan: &Plan) -> String {
        plan.verb.effect()
    }

    /// What the operation does not reach, a sentence each.
    async fn limits(&self, operation: &Operation) -> Result<Vec<String>, EngineError>;

    /// The next matching items that existed at the preview, at most `limit`, after the position of an earlier page.
    /// Looks at a bounded number of others.
    async fn page(
        &self,
        operation: &Operation,
        after: Option<&str>,
        limit: u32,
    ) -> Result<ItemPage, EngineError>;

    /// Does the verb to an item if it still matches. Idempotent: after a crash it is repeated.
    ///
    /// # Errors
    /// A transient one is met again later, any other one is the item's own and counted.
    async fn act(&self, operation: &Operation, item: &str) -> Result<Acted, EngineError>;
}
