#![doc = include_str!("../README.md")]

mod linked;
pub mod orders;
pub mod payments;

use std::time::Duration;

use async_trait::async_trait;

pub use self::{orders::MemoryOrders, payments::MemoryPayments};
use store::{
    catalog::Product,
    domain::{MerchantId, Order, Page, Payment},
    outbox::OutboxBody,
};

fn some(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The first page of an iterator.
fn page_of<T>(found: impl Iterator<Item = T>, limit: u32) -> Page<T> {
    Page::from_overfetched(found.take(some(limit).saturating_add(1)).collect(), limit)
}

/// One call to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// `order` or `payment`.
    pub store: &'static str,
    /// The contract's method.
    pub name: &'static str,
    /// Whether it may change anything.
    pub writes: bool,
}

/// Delivery of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It takes effect now.
    Arrives,
    /// It never takes effect; the caller gets an error without an answer.
    Lost,
    /// A look-up by id finds nothing, as on a shard that the merchant has left; any other call is lost.
    Astray,
    /// It takes effect after this time, but the caller gets an error without an answer at once. A read is lost.
    Late(Duration),
}

/// The connection to a store. May take any time; if the caller drops the call, it takes effect only if
/// [`Link::request`] has returned by then.
#[async_trait]
pub trait Link: Send + Sync + 'static {
    /// Called before the call takes effect.
    async fn request(&self, call: Call) -> Passage;

    /// Called after it took effect; false when the answer is lost.
    async fn answer(&self, call: Call) -> bool;
}

/// A link without failures or delays.
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

/// Called at every change, in the order of the changes. Must not call the store.
pub trait Observer: Send + Sync + 'static {
    /// An order was placed (no `before`) or changed.
    fn order(&self, _before: Option<&Order>, _after: &Order) {}

    /// A product or its stock changed.
    fn product(&self, _merchant: MerchantId, _before: Option<&Product>, _after: &Product) {}

    /// A message was written to the outbox.
    fn message(&self, _body: &OutboxBody) {}

    /// A payment was opened (no `before`) or changed.
    fn payment(&self, _before: Option<&Payment>, _after: &Payment) {}

    /// A payment was decided by the attempt with this epoch.
    fn decided(&self, _payment: &Payment, _epoch: u64) {}
}

/// Ignores all changes.
impl Observer for () {}
