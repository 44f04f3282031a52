//! The outbox: events and commands written with the change they belong to, taken out by the relay.
//!
//! Guarantees: what is committed is handed out until marked sent; messages of one subject (an order, a product, a customer, a proof of an address) are
//! handed out in order and never to two relays at once. Handing out twice after a crash is normal: ids make the
//! repetition harmless.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    domain::{Event, EventId, MerchantId, OrderId, Page, PageRequest, RefundId, VerificationId},
    error::StoreError,
};

/// A message's place. Within one database it grows with time; it says nothing about the time of one in another.
///
/// Taken from a claim and given back to [`Outbox::mark_sent`] of the same store; of no meaning to another process, which
/// may have its databases in another order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which of the store's databases; 0 where there is one.
    pub shard: u16,
    /// The place in it.
    pub number: i64,
}

impl Position {
    /// In a store's only database.
    pub const fn only(number: i64) -> Self {
        Self { shard: 0, number }
    }
}

/// A message taken from the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxMessage {
    /// Its place.
    pub position: Position,
    /// What it is.
    pub body: OutboxBody,
}

/// What an outbox message is.
#[derive(Debug, Clone, PartialEq)]
pub enum OutboxBody {
    /// An event, told to merchants.
    Event(Event),
    /// A wish of the API or of a transaction, told to nobody but the workers.
    Command {
        /// Identity for deriving job ids.
        id: EventId,
        /// What to do.
        command: Command,
        /// The trace it belongs to.
        trace: Option<TraceContext>,
    },
}

/// Work asked for inside a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
#[non_exhaustive]
pub enum Command {
    /// Give money back.
    Refund {
        /// The order.
        order: OrderId,
        /// The refund.
        refund: RefundId,
        /// How much.
        amount_minor: i64,
    },
    /// A provider says that something became of a charge: ask it what.
    ProviderReport {
        /// The order that the charge is said to pay.
        order: OrderId,
        /// The provider's id of the charge.
        reference: String,
    },
    /// Mail a customer who is to prove an address.
    Verify {
        /// Of which merchant.
        merchant: MerchantId,
        /// The request.
        verification: VerificationId,
    },
}

impl Command {
    /// The order it is about, if any, whose other messages it keeps its place among.
    pub const fn order(&self) -> Option<OrderId> {
        match self {
            Self::Refund { order, .. } | Self::ProviderReport { order, .. } => Some(*order),
            Self::Verify { .. } => None,
        }
    }
}

/// What became of [`Outbox::submit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// Stored now.
    Stored,
    /// A message with this id is stored already, sent or not; nothing changed.
    Already,
    /// No such order; nothing stored.
    NoSuchOrder,
}

/// How far the relay is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// Messages not yet sent.
    pub messages: u64,
    /// The oldest of them.
    pub oldest_at: Option<Timestamp>,
}

/// Keeps the outbox.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Stores a command about an order that follows from no change of it. `id` makes it idempotent, for as long as the
    /// outbox keeps its messages; derive it from the order's id, which decides where the message is kept.
    async fn submit(&self, id: EventId, command: Command, at: Timestamp) -> Result<Submitted, StoreError>;

    /// Takes up to `limit` unsent messages, oldest first, for `lease`; again those this relay took before.
    async fn claim(
        &self,
        relay: &str,
        limit: u32,
        lease: Duration,
        at: Timestamp,
    ) -> Result<Vec<OutboxMessage>, StoreError>;

    /// Marks messages as sent.
    async fn mark_sent(&self, positions: &[Position], at: Timestamp) -> Result<(), StoreError>;

    /// Changes whenever messages may have arrived. A hint: spurious changes happen, and a missed one is made good
    /// by polling.
    fn arrivals(&self) -> watch::Receiver<u64>;

    /// How far behind.
    async fn backlog(&self) -> Result<Backlog, StoreError>;

    /// A merchant's events, newest first.
    async fn events(
        &self,
        merchant: MerchantId,
        page: PageRequest<EventId>,
    ) -> Result<Page<Event>, StoreError>;

    /// Any event, for workers.
    async fn event_by_id(&self, id: EventId) -> Result<Option<Event>, StoreError>;

    /// The events of an order with a sequence above `after`, in sequence.
    async fn order_events(&self, order: OrderId, after: u64) -> Result<Vec<Event>, StoreError>;
}
