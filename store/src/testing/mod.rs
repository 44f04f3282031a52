//! Stores in memory whose calls can be made to fail. **For simulations and tests: they keep nothing.**
//!
//! Guarantees: both are held to the conformance suites of the real engines and share their pure decisions
//! (`crate::engine`, [`crate::payments`]); a call is one change of one value under one lock; nothing depends on hash
//! order, threads or real time. What a call meets on its way is a [`Link`]'s choice, by default nothing; what changed
//! is told to an [`Observer`].
//!
//! Every method of a contract goes through `held::Held::read` or `held::Held::write`, which is all it takes to make
//! a new one subject to the same faults. Read on in [`orders`] and [`payments`].

mod linked;
pub mod orders;
pub mod payments;

use std::time::Duration;

use async_trait::async_trait;

pub use self::{orders::MemoryOrders, payments::MemoryPayments};
use crate::{
    catalog::Product,
    domain::{MerchantId, Order, Page, Payment},
    outbox::OutboxBody,
};

fn some(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The first page of what is found.
fn page_of<T>(found: impl Iterator<Item = T>, limit: u32) -> Page<T> {
    Page::from_overfetched(found.take(some(limit).saturating_add(1)).collect(), limit)
}

/// One call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// `order` or `payment`.
    pub store: &'static str,
    /// The contract's method.
    pub name: &'static str,
    /// Whether it may change anything.
    pub writes: bool,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It takes effect now.
    Arrives,
    /// It never does, and the caller learns no more than that no answer came.
    Lost,
    /// It takes effect so much later, the caller having been told meanwhile that no answer came. Reads are lost.
    Late(Duration),
}

/// The way to a store and back. Takes as long as it likes; a caller that is dropped meanwhile has made its call once
/// [`Link::request`] has answered, and not before.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Before the call takes effect.
    async fn request(&self, call: Call) -> Passage;

    /// After it took effect; false when the answer is lost.
    async fn answer(&self, call: Call) -> bool;
}

/// Every call arrives and is answered at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

#[async_trait]
impl Link for Direct {
    async fn request(&self, _: Call) -> Passage {
        Passage::Arrives
    }

    async fn answer(&self, _: Call) -> bool {
        true
    }
}

/// Sees every change at the moment it is made, in the order of the changes. Must not call the store.
pub trait Observer: Send + Sync + 'static {
    /// An order was placed (no `before`) or changed.
    fn order(&self, _before: Option<&Order>, _after: &Order) {}

    /// A product or its stock changed.
    fn product(&self, _merchant: MerchantId, _before: Option<&Product>, _after: &Product) {}

    /// A message was written to the outbox.
    fn message(&self, _body: &OutboxBody) {}

    /// A payment was opened (no `before`) or changed.
    fn payment(&self, _before: Option<&Payment>, _after: &Payment) {}
}

/// Sees nothing.
impl Observer for () {}
