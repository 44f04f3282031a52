//! The order store: orders and all that shares their transaction (stock, idempotency records, outbox).
//!
//! Guarantees: placing an order is one transaction; each state transition is guarded by the state it expects and writes
//! its events in the same transaction; repeating a transition returns [`Transition::Already`] and writes nothing. Every
//! read by a merchant names the merchant in the query itself. Read on in [`crate::outbox`].

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        Address, CartId, Currency, Customer, CustomerId, MerchantId, Order, OrderId, OrderStatus, OrderToken,
        Page, PageRequest, PaymentId, Pricing, RefundId,
    },
    error::Result,
};

pub use crate::mails::{MailRecord, MailSubject, Mails};
pub use crate::refunds::{DisputeFacts, RefundFacts, RefundRequested, RequestedRefund};

/// Time for which an idempotency key is kept, as documented in the API guide.
pub const IDEMPOTENCY_KEEP: Duration = Duration::from_hours(24);
/// Largest difference between two clocks that may decide together what is old.
pub const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_mins(1);

/// An order to place. The API has checked the form of its fields; the store checks products, stock and amounts.
#[derive(Debug, Clone)]
pub struct NewOrder {
    /// Chosen by the caller; text form `ord_…`.
    pub id: OrderId,
    pub merchant: MerchantId,
    /// Name and mail address on the order.
    pub customer: Customer,
    /// The registered customer who is signed in.
    pub account: Option<CustomerId>,
    /// Access token by which its bearer may read the order.
    pub token: Option<OrderToken>,
    /// The currency the storefront showed; must be that of every product.
    pub currency: Currency,
    /// At least one line, each sku once.
    pub lines: Vec<NewLine>,
    /// The cart whose reservation, if there is one, the order takes over.
    pub reservation: Option<CartId>,
    /// Its adjustments, and the sum of the lines they were decided for; `None`: the lines are all.
    pub pricing: Option<Pricing>,
    /// The total the customer agreed to, in minor units; an order that comes to another one is rejected.
    pub expected_total_minor: Option<i64>,
    /// The payment provider's token of the payment method.
    pub payment_method: String,
    pub shipping_address: Option<Address>,
    /// The merchant's own reference number.
    pub reference: Option<String>,
    pub idempotency: IdempotencyKey,
    pub trace: Option<TraceContext>,
    /// Told in the response, see [`OrderView`](crate::order_view::OrderView); stored with it under the key only.
    pub estimated_fulfilment_at: Option<Timestamp>,
    pub at: Timestamp,
}

/// One line to order or to reserve; stored with a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLine {
    pub sku: String,
    /// At least 1.
    pub quantity: u32,
}

/// An idempotency key, scoped by merchant and route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The client's key, 1 to 255 characters.
    pub key: String,
    /// SHA-256 of the request; a different request under the same key is rejected.
    pub fingerprint: [u8; 32],
}

/// Result of [`Orders::place_order`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceOutcome {
    /// Accepted now.
    Placed {
        order: Box<Order>,
        /// The answer, [`OrderView::of_accepted`](crate::order_view::OrderView::of_accepted); stored under the key.
        body: String,
    },
    /// Accepted by an earlier request with this key.
    Replayed {
        /// The order of the earlier request.
        order: OrderId,
        /// The stored answer of the earlier request, byte for byte.
        body: String,
    },
    InFlight,
    KeyReused {
        /// The order of the earlier request.
        order: OrderId,
    },
    /// Rejected, nothing written; every invalid line is named.
    Refused(Vec<Refusal>),
}

/// A reason for rejecting an order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No such product.
    UnknownSku {
        /// Index into the lines.
        line: usize,
    },
    OutOfStock {
        /// Index into the lines.
        line: usize,
        available: i64,
    },
    WrongCurrency {
        /// Index into the lines.
        line: usize,
        expected: Currency,
    },
    /// The total exceeds [`crate::domain::AMOUNT_MINOR_MAX`].
    TotalTooLarge,
    /// The lines come to another sum than their adjustments were decided for: decide again.
    Repriced,
    PriceChanged {
        /// The total at the present prices, in minor units.
        total_minor: i64,
    },
}

/// Filter of an order listing; an empty filter lists all.
#[derive(Debug, Clone, Copy, Default)]
pub struct OrderFilter {
    /// Only orders in this state.
    pub status: Option<OrderStatus>,
    /// Only orders placed in a session of this registered customer.
    pub customer: Option<CustomerId>,
}

/// The age of `pending` orders that are to expire.
#[derive(Debug, Clone, Copy)]
pub struct Stale {
    /// Placed before.
    pub before: Timestamp,
    /// The same of orders with a bank debit under way at the provider; `None`: these wait for its end.
    pub debits_before: Option<Timestamp>,
}

impl Stale {
    /// All that were placed before.
    pub const fn all(before: Timestamp) -> Self {
        Self { before, debits_before: Some(before) }
    }
}

/// The `status_reason` of an order that was not paid in time.
pub const EXPIRED: &str = "expired";

/// Result of a state transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// Done by this call; its events are in the outbox.
    Now(Box<Order>),
    /// Done by an earlier call; nothing written.
    Already(Box<Order>),
    /// Not allowed from the order's state; nothing written unless the method says otherwise.
    Refused(Box<Order>),
    /// No such order (of this merchant).
    NotFound,
}

/// The fields of a captured payment that the order store records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureFacts {
    pub payment: PaymentId,
    /// The provider's id of the charge.
    pub provider_reference: String,
    /// Captured amount, in minor units.
    pub amount_minor: i64,
}

/// Orders, their state transitions, refunds and idempotency records.
#[async_trait]
pub trait Orders: Send + Sync + 'static {
    /// Places an order: order, reservation, idempotency record and `order.placed`, all or nothing.
    async fn place_order(&self, order: NewOrder) -> Result<PlaceOutcome>;

    /// The answer to a request whose key has a stored record, [`PlaceOutcome::Replayed`] or
    /// [`PlaceOutcome::KeyReused`]; `None` without one. For callers whose own work before [`Orders::place_order`] must
    /// not keep a repetition from its answer.
    async fn answered(&self, merchant: MerchantId, key: &IdempotencyKey) -> Result<Option<PlaceOutcome>>;

    /// A merchant's order.
    async fn order(&self, merchant: MerchantId, id: OrderId) -> Result<Option<Order>>;

    /// An order of any merchant, for workers.
    async fn order_by_id(&self, id: OrderId) -> Result<Option<Order>>;

    /// States of these orders, of any merchant, in no order; without those that are not stored. One whose merchant was
    /// migrated meanwhile may be left out.
    async fn statuses(&self, orders: &[OrderId]) -> Result<Vec<(OrderId, OrderStatus)>>;

    /// Replaces the access token of an order; `None` revokes it. Changes nothing else, not even `updated_at`. False
    /// when there is no such order of this merchant.
    async fn replace_order_token(
        &self,
        merchant: MerchantId,
        id: OrderId,
        token: Option<OrderToken>,
    ) -> Result<bool>;

    /// A merchant's orders, newest first.
    async fn orders(
        &self,
        merchant: MerchantId,
        filter: OrderFilter,
        page: PageRequest<OrderId>,
    ) -> Result<Page<Order>>;

    /// `pending` → `paid`; writes `payment.captured` (sequence first) and `order.paid`.
    ///
    /// If the order was cancelled, or its payment failed, before the capture, the money must go back: the same
    /// transaction then writes `payment.captured` and a refund command, once, and the answer is
    /// [`Transition::Refused`].
    async fn mark_paid(&self, id: OrderId, facts: CaptureFacts, at: Timestamp) -> Result<Transition>;

    /// `pending` → `payment_failed`, reservation released; writes `payment.failed` with the code.
    async fn mark_payment_failed(
        &self,
        id: OrderId,
        payment: PaymentId,
        code: &str,
        at: Timestamp,
    ) -> Result<Transition>;

    /// `paid` → `fulfilled`: takes the reserved units out of stock, creates the shipment
    /// ([`crate::domain::ShipmentId::of_order`]); writes `order.fulfilled` and one `inventory.updated` per sku. Refused
    /// while open and done refunds amount to the whole total: the order is `paid` until the refunds end.
    async fn fulfil(&self, id: OrderId, at: Timestamp) -> Result<Transition>;

    /// [`Orders::cancel_until`] of a `pending` or `paid` order: what the merchant may do.
    async fn cancel(
        &self,
        merchant: MerchantId,
        id: OrderId,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition> {
        self.cancel_until(OrderStatus::Paid, (merchant, id), reason, at).await
    }

    /// [`Orders::cancel_until`] of a `pending` order: what a customer may do.
    async fn cancel_pending(
        &self,
        merchant: MerchantId,
        id: OrderId,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition> {
        self.cancel_until(OrderStatus::Pending, (merchant, id), reason, at).await
    }

    /// From `pending`, and from `latest`, to `cancelled`, reservation released; writes `order.cancelled`, and for a
    /// paid order a refund command over the captured amount less open and done refunds.
    async fn cancel_until(
        &self,
        latest: OrderStatus,
        order: (MerchantId, OrderId),
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition>;

    /// Ids above `after` of `pending` orders that are stale, ascending, at most `limit`; fewer only at the end.
    async fn stale_orders(&self, stale: Stale, after: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>>;

    /// `pending` → `cancelled` with the reason [`EXPIRED`], otherwise as [`Orders::cancel`]. False when the order is
    /// not pending, or has a bank debit under way and was not placed before `debits_before`.
    async fn expire_order(
        &self,
        id: OrderId,
        debits_before: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<bool>;

    /// Records that the provider has a bank debit of a pending order under way, which takes days. Changes nothing else,
    /// not even `updated_at`.
    async fn note_debit(&self, id: OrderId, at: Timestamp) -> Result<()>;

    /// Stores a refund request (of the whole remainder when `amount_minor` is `None`) and writes the refund command.
    /// Idempotent by `refund`, with the same `amount_minor`. Only for `paid` and `fulfilled` orders, and for a
    /// cancelled one whose money was captured and not wholly asked back, as a refund of it failed.
    async fn request_refund(
        &self,
        merchant: MerchantId,
        id: OrderId,
        refund: RefundId,
        amount_minor: Option<i64>,
        at: Timestamp,
    ) -> Result<RefundRequested>;

    /// Records the end of a refund; one recorded before returns [`Transition::Already`].
    ///
    /// Done: writes `payment.refunded`. Once the whole total is refunded, a `paid` or `fulfilled` order becomes
    /// `refunded` (`order.refunded`; a reservation still held is released); a cancelled order stays cancelled. Money
    /// that moved counts, also where a failure was recorded before.
    ///
    /// Failed: writes `refund.failed`; the amount may be requested again, under another id. For a cancelled order that
    /// happens at once, unless it was the cancellation that requested the failed one.
    async fn record_refund(&self, id: OrderId, facts: RefundFacts, at: Timestamp) -> Result<Transition>;

    /// Writes `payment.disputed`, once for each state of a dispute; changes nothing else of the order.
    async fn record_dispute(&self, id: OrderId, facts: DisputeFacts, at: Timestamp) -> Result<Transition>;

    /// Deletes idempotency records that are [`IDEMPOTENCY_KEEP`] old, at most `limit`; returns how many. Their age is
    /// counted to the earliest of `now`, the newest record and the server's own clock: a caller whose clock is ahead
    /// deletes no record of the last day.
    async fn expire_idempotency(&self, now: Timestamp, limit: u32) -> Result<u64>;

    /// Fails when a server's clock and `now` are more than [`CLOCK_DIFFERENCE_MAX`] apart: neither may then decide that
    /// data are old. A server that does not answer is skipped; an engine without a server has no second clock.
    async fn check_clock(&self, _now: Timestamp) -> Result<()> {
        Ok(())
    }

    /// Whether the store can be used now; for readiness checks.
    async fn ping(&self) -> Result<()>;
}
