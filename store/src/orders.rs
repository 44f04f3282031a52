//! The order store: orders and all that shares their transaction (stock, idempotency records, outbox).
//!
//! Guarantees: placing an order is one transaction; each move is guarded by the state it expects and writes its
//! events with it; repeating a move answers [`Moved::Already`] and writes nothing. Every read by a merchant names
//! the merchant in the query itself. Read on in [`crate::outbox`].

use std::fmt;

use async_trait::async_trait;
use base::{Timestamp, TraceContext};

use crate::{
    audit::Audit,
    catalog::Catalog,
    customers::Customers,
    domain::{
        Address, Currency, Customer, CustomerId, MerchantId, Order, OrderId, OrderStatus, OrderToken, Page,
        PageRequest, PaymentId, RefundId,
    },
    error::StoreError,
    merchants::Merchants,
    outbox::Outbox,
    verifications::Verifications,
    webhooks::Webhooks,
};

/// Everything kept in the relational store.
pub trait OrderStore:
    Merchants + Customers + Verifications + Catalog + Orders + Mails + Outbox + Webhooks + Audit
{
}

impl<S: Merchants + Customers + Verifications + Catalog + Orders + Mails + Outbox + Webhooks + Audit>
    OrderStore for S
{
}

/// An order to place; validated in form by the API, in substance by the store.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// Its id.
    pub id: OrderId,
    /// Whose it is.
    pub merchant: MerchantId,
    /// Who orders.
    pub customer: Customer,
    /// The registered customer who is signed in.
    pub account: Option<CustomerId>,
    /// What will open the order to a bearer.
    pub token: Option<OrderToken>,
    /// The currency the storefront showed; must be that of every product.
    pub currency: Currency,
    /// What; at least one line, each sku once.
    pub lines: Vec<NewLine>,
    /// The provider's token.
    pub payment_method: String,
    /// Where to send it.
    pub shipping_address: Option<Address>,
    /// The merchant's own number for it.
    pub reference: Option<String>,
    /// The request's key.
    pub idempotency: IdempotencyKey,
    /// Renders the answer that is stored under the key and given again on replay.
    pub render: fn(&Order) -> String,
    /// The request's trace.
    pub trace: Option<TraceContext>,
    /// Now.
    pub at: Timestamp,
}

/// One line to order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    /// Stock keeping unit.
    pub sku: String,
    /// At least 1.
    pub quantity: u32,
}

/// An idempotency key, scoped by merchant and route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The client's key, 1 to 255 characters.
    pub key: String,
    /// SHA-256 of what was asked; another one under the same key is refused.
    pub fingerprint: [u8; 32],
}

/// What became of [`Orders::place_order`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceOutcome {
    /// Accepted now; `body` is the stored answer.
    Placed {
        /// The order.
        order: Box<Order>,
        /// The rendered answer.
        body: String,
    },
    /// Accepted earlier under this key.
    Replayed {
        /// The order of then.
        order: OrderId,
        /// The answer of then, to the byte.
        body: String,
    },
    /// A request with this key is being worked on.
    InFlight,
    /// The key was used for another request.
    KeyReused {
        /// The order of then.
        order: OrderId,
    },
    /// Refused, nothing written; every line's trouble is named.
    Refused(Vec<Refusal>),
}

/// Why an order was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No such product.
    UnknownSku {
        /// Index into the lines.
        line: usize,
    },
    /// Fewer left than wanted.
    OutOfStock {
        /// Index into the lines.
        line: usize,
        /// What is left.
        available: i64,
    },
    /// The product is sold in another currency.
    WrongCurrency {
        /// Index into the lines.
        line: usize,
        /// The product's.
        expected: Currency,
    },
    /// The total exceeds [`crate::domain::AMOUNT_MINOR_MAX`].
    TotalTooLarge,
}

/// The `status_reason` of an order that nobody paid in time.
pub const EXPIRED: &str = "expired";

/// What became of a move between states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// Moved by this call; its events are in the outbox.
    Now(Box<Order>),
    /// It had been moved there before; nothing written.
    Already(Box<Order>),
    /// It is in a state with no arrow to there; nothing written but what the method says.
    Refused(Box<Order>),
    /// No such order (of this merchant).
    NotFound,
}

/// A captured payment, as far as an order cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureFacts {
    /// The payment.
    pub payment: PaymentId,
    /// The provider's id of the charge.
    pub provider_reference: String,
    /// What was captured.
    pub amount_minor: i64,
}

/// A finished refund, as far as an order cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundFacts {
    /// The payment.
    pub payment: PaymentId,
    /// The refund; recording the same one again changes nothing.
    pub refund: RefundId,
    /// What was given back.
    pub amount_minor: i64,
}

/// What became of [`Orders::request_refund`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundRequested {
    /// Stored; the command is in the outbox.
    Accepted(Box<Order>, RefundId),
    /// The same refund was asked for before.
    Already(Box<Order>, RefundId),
    /// More than what is left of the total.
    TooMuch {
        /// What may still be refunded.
        refundable_minor: i64,
    },
    /// The order is in no state to be refunded.
    Refused(Box<Order>),
    /// No such order of this merchant.
    NotFound,
}

/// Keeps orders.
#[async_trait]
pub trait Orders: Send + Sync + 'static {
    /// Places an order: order, reservation, idempotency record and `order.placed`, all or nothing.
    async fn place_order(&self, order: NewOrder) -> Result<PlaceOutcome, StoreError>;

    /// A merchant's order.
    async fn order(&self, merchant: MerchantId, id: OrderId) -> Result<Option<Order>, StoreError>;

    /// Any order, for workers (which act for all merchants).
    async fn order_by_id(&self, id: OrderId) -> Result<Option<Order>, StoreError>;

    /// Replaces what opens an order to a bearer; `None` revokes it. Changes nothing else, not even the time of the last
    /// change. False when there is no such order of this merchant.
    async fn replace_order_token(
        &self,
        merchant: MerchantId,
        id: OrderId,
        token: Option<OrderToken>,
    ) -> Result<bool, StoreError>;

    /// A merchant's orders, newest first.
    async fn orders(
        &self,
        merchant: MerchantId,
        status: Option<OrderStatus>,
        page: PageRequest<OrderId>,
    ) -> Result<Page<Order>, StoreError>;

    /// `pending` → `paid`; writes `payment.captured` (sequence first) and `order.paid`.
    ///
    /// If the order was cancelled meanwhile the money must go back: the same transaction then writes
    /// `payment.captured` and a refund command, once, and the answer is [`Moved::Refused`].
    async fn mark_paid(
        &self,
        id: OrderId,
        facts: CaptureFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError>;

    /// `pending` → `payment_failed`, reservation released; writes `payment.failed` with the code.
    async fn mark_payment_failed(
        &self,
        id: OrderId,
        payment: PaymentId,
        code: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError>;

    /// `paid` → `fulfilled`: takes the reserved units out of the house, creates the shipment
    /// ([`crate::domain::ShipmentId::of_order`]); writes `order.fulfilled` and one `inventory.updated` per sku.
    async fn fulfil(&self, id: OrderId, at: Timestamp) -> Result<Transition, StoreError>;

    /// `pending`|`paid` → `cancelled`, reservation released; writes `order.cancelled`, and for a paid order a
    /// refund command over what was captured.
    async fn cancel(
        &self,
        merchant: MerchantId,
        id: OrderId,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError>;

    /// `pending` → `cancelled` with the reason [`EXPIRED`] for orders placed before this, oldest first, at most `limit`;
    /// otherwise as [`Orders::cancel`]. Answers how many; one that moved meanwhile is left alone and not counted.
    async fn expire_pending(&self, before: Timestamp, limit: u32, at: Timestamp) -> Result<u64, StoreError>;

    /// Stores the wish to refund (all that is left when `amount_minor` is `None`) and writes the refund command.
    /// `refund` makes it idempotent. Only for `paid` and `fulfilled` orders.
    async fn request_refund(
        &self,
        merchant: MerchantId,
        id: OrderId,
        refund: RefundId,
        amount_minor: Option<i64>,
        at: Timestamp,
    ) -> Result<RefundRequested, StoreError>;

    /// Records a refund the provider has done; writes `payment.refunded`. Once all is given back a `paid` or
    /// `fulfilled` order becomes `refunded` (`order.refunded`; a reservation still held is released); a cancelled
    /// one stays cancelled. A refund recorded before answers [`Moved::Already`].
    async fn record_refund(
        &self,
        id: OrderId,
        facts: RefundFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError>;

    /// Drops idempotency records older than this, at most `limit`; answers how many.
    async fn expire_idempotency(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Whether the store can be used now; for readiness.
    async fn ping(&self) -> Result<(), StoreError>;
}

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MailSubject {
    /// An order.
    Order(OrderId),
    /// A registered customer.
    Customer(CustomerId),
}

impl From<OrderId> for MailSubject {
    fn from(id: OrderId) -> Self {
        Self::Order(id)
    }
}

impl From<CustomerId> for MailSubject {
    fn from(id: CustomerId) -> Self {
        Self::Customer(id)
    }
}

impl fmt::Display for MailSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(id) => id.fmt(f),
            Self::Customer(id) => id.fmt(f),
        }
    }
}

/// A mail as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailRecord {
    /// Which template.
    pub template: String,
    /// Its Message-ID.
    pub message_id: String,
    /// Handed over.
    pub sent_at: Timestamp,
}

/// Keeps which mails were sent: one per (subject, template).
#[async_trait]
pub trait Mails: Send + Sync + 'static {
    /// The mails about a subject, oldest first.
    async fn mails(&self, subject: MailSubject) -> Result<Vec<MailRecord>, StoreError>;

    /// Records a mail as sent; false when it was recorded before (and nothing changes).
    async fn record_mail(&self, subject: MailSubject, mail: MailRecord) -> Result<bool, StoreError>;
}
