//! The outbox: events and commands written in the transaction of the change they belong to, claimed by the relay.
//!
//! Guarantees: a committed message is claimed again until it is marked sent; messages of one subject (an order, a
//! product, a customer, a verification of an address) are claimed in order and never by two relays at once. A message
//! may be claimed twice after a crash: ids derived from the message make the repetition harmless.
//!
//! A message that a release cannot read (a later one wrote it, or it is damaged) is claimed as
//! [`OutboxBody::Unreadable`] and [set aside](Outbox::set_aside) under a lease: its subject waits, all others go on. At
//! the end of the lease it is claimed again, so the first relay that can read it sends it, in order.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    domain::{EndpointId, Event, EventId, MerchantId, OrderId, Page, PageRequest, RefundId, VerificationId},
    error::Result,
};

/// Position of a message. Within one database it grows with time; positions of different databases say nothing about
/// which message is older.
///
/// Read from a claim and passed to [`Outbox::mark_sent`] of the same store; meaningless to another process, which may
/// number its databases differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Index of the database in the store; 0 where there is one.
    pub shard: u16,
    /// Position within that database.
    pub number: i64,
}

impl Position {
    /// Position in a store with one database.
    pub const fn only(number: i64) -> Self {
        Self { shard: 0, number }
    }
}

/// Relay name in the lease of a message that is set aside; no relay has it.
pub const SET_ASIDE: &str = "set aside";
/// Messages that [`Outbox::backlog`] counts in each database. It bounds what a look costs however far the relays are
/// behind; by how much they are, the age of the oldest message tells at any depth.
pub const BACKLOG_COUNTED_MAX: u64 = 250_000;

/// A claimed message.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxMessage {
    pub position: Position,
    /// Ordering key: the same for messages that are claimed one after another.
    pub subject: String,
    pub body: OutboxBody,
}

/// The content of an outbox message.
#[derive(Debug, Clone, PartialEq)]
pub enum OutboxBody {
    /// An event, delivered to merchants and outside consumers.
    Event(Event),
    /// A request for work, seen by the workers only.
    Command {
        /// Job ids are derived from it.
        id: EventId,
        /// The merchant whose order or request it is about, by the row; not every command names one.
        merchant: MerchantId,
        command: Command,
        /// Trace of the request or change that wrote it.
        trace: Option<TraceContext>,
    },
    /// A message that this release cannot read.
    Unreadable(SetAside),
}

/// A message that is or must be set aside, by the columns that read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// Its id, `evt_…`.
    pub id: String,
    pub merchant: Option<MerchantId>,
    /// The order it is about.
    pub order: Option<OrderId>,
    /// Kind of event, or `command`.
    pub kind: String,
    /// When it was written.
    pub at: Option<Timestamp>,
    /// Why this release cannot read it; `None` if it can.
    pub error: Option<String>,
}

/// Work requested inside a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Command {
    /// Refund money through the provider.
    Refund {
        order: OrderId,
        refund: RefundId,
        /// Amount, in minor units of the order's currency.
        amount_minor: i64,
    },
    /// The provider reported a change of a charge by webhook: fetch its state from the provider.
    ProviderReport {
        /// The order that the report names.
        order: OrderId,
        /// The provider's id of the charge.
        reference: String,
    },
    /// Send the mail that proves an address.
    Verify {
        /// The merchant in whose name it is sent.
        merchant: MerchantId,
        verification: VerificationId,
        /// Domain of the address, see [`mail_domain`](crate::domain::mail_domain); `None` in a row of an earlier
        /// release.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        domain: Option<String>,
    },
    /// Deliver an event again, as its merchant requested.
    Resend {
        merchant: MerchantId,
        event: EventId,
        /// The order it is about.
        order: Option<OrderId>,
        /// The endpoints to deliver it to.
        endpoints: Vec<EndpointId>,
    },
}

impl Command {
    /// The order whose other messages the command is claimed in order with, if any. A delivery that is requested again
    /// waits for none.
    pub const fn order(&self) -> Option<OrderId> {
        match self {
            Self::Refund { order, .. } | Self::ProviderReport { order, .. } => Some(*order),
            Self::Verify { .. } | Self::Resend { .. } => None,
        }
    }
}

/// Result of [`Outbox::submit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    Stored,
    /// A message with this id is stored already, sent or not; nothing changed.
    Already,
    /// No such order; nothing stored.
    NoSuchOrder,
}

/// Lag of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// Messages not yet sent; at least as many, where it is no less than what was counted up to.
    pub messages: u64,
    /// When the oldest of all of them was written.
    pub oldest_at: Option<Timestamp>,
    /// Messages that are set aside, counted as far.
    pub set_aside: u64,
}

/// Events and commands on their way to the queue.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Stores a command about an order, or a [`Command::Resend`], without a change of what it is about. Idempotent by
    /// `id` for as long as the outbox keeps its messages. The time in `id` decides where the message is stored: derive
    /// it from the order's id, or from a time of the request.
    async fn submit(&self, id: EventId, command: Command, at: Timestamp) -> Result<Submitted>;

    /// Claims up to `limit` unsent messages, oldest first, for `lease`; messages already claimed by this relay
    /// included.
    async fn claim(
        &self,
        relay: &str,
        limit: u32,
        lease: Duration,
        at: Timestamp,
    ) -> Result<Vec<OutboxMessage>>;

    /// Marks messages as sent.
    async fn mark_sent(&self, positions: &[Position], at: Timestamp) -> Result<()>;

    /// Sets claimed messages aside until then: no relay claims them or later messages of their subjects before.
    async fn set_aside(&self, positions: &[Position], until: Timestamp) -> Result<()>;

    /// Messages that are set aside, oldest first.
    async fn list_set_aside(&self, limit: u32) -> Result<Vec<SetAside>>;

    /// Changes when messages may have arrived. A hint: spurious changes happen, and polling makes up for a missed one.
    fn arrivals(&self) -> watch::Receiver<u64>;

    /// Number and age of unsent messages, counted up to [`BACKLOG_COUNTED_MAX`] in each database.
    async fn backlog(&self) -> Result<Backlog> {
        self.backlog_up_to(BACKLOG_COUNTED_MAX).await
    }

    /// [`Outbox::backlog`], counted up to `most` in each database.
    async fn backlog_up_to(&self, most: u64) -> Result<Backlog>;

    /// A merchant's events, newest first.
    async fn events(&self, merchant: MerchantId, page: PageRequest<EventId>) -> Result<Page<Event>>;

    /// An event of any merchant, which a caller that serves one compares.
    async fn event_by_id(&self, id: EventId) -> Result<Option<Event>>;

    /// The events of an order with a sequence above `after`, in sequence.
    async fn order_events(&self, order: OrderId, after: u64) -> Result<Vec<Event>>;
}
