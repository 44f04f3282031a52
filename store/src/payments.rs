//! The payment store: append-only rows and one conditional decision per payment.
//!
//! Guarantees: facts are never changed; each attempt gets a fencing epoch above all earlier ones; a decision is
//! recorded once and only by the newest epoch, so a worker that was paused past its lease cannot write. Made to fit
//! Cassandra lightweight transactions: one partition per payment, every condition on that partition.
//!
//! Does not call providers: see the workers.

pub(crate) mod rejection;

use async_trait::async_trait;
use base::Timestamp;

use crate::{
    domain::{
        Currency, Decision, MerchantId, OrderId, Payment, PaymentAttempt, PaymentId, RefundId, RefundState,
    },
    error::StoreError,
};

/// A payment to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayment {
    /// [`PaymentId::of_order`].
    pub id: PaymentId,
    /// The order it pays.
    pub order: OrderId,
    /// Whose it is.
    pub merchant: MerchantId,
    /// To capture.
    pub amount_minor: i64,
    /// Of the amount.
    pub currency: Currency,
    /// The provider's token.
    pub method: String,
    /// Which provider.
    pub provider: String,
    /// Now.
    pub at: Timestamp,
}

/// What became of [`PaymentStore::begin_attempt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Go on; write with this epoch.
    Attempt {
        /// The fencing epoch, 1 for the first attempt.
        epoch: u64,
    },
    /// Decided already; nothing begun.
    Decided(Decision),
    /// No such payment.
    NotFound,
}

/// What became of [`PaymentStore::decide`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// Recorded now.
    Recorded,
    /// It was decided before, so.
    Already(Decision),
    /// A newer attempt has begun; this one may not write.
    Stale {
        /// The newest epoch.
        current_epoch: u64,
    },
    /// No such payment.
    NotFound,
}

/// What became of [`PaymentStore::begin_refund`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundBegun {
    /// Begun now or before and still open: ask the provider (idempotent by the refund's id).
    Open,
    /// It ended before, so.
    Ended(RefundState),
    /// Open and done refunds would exceed what was captured.
    TooMuch {
        /// What may still be refunded.
        refundable_minor: i64,
    },
    /// Nothing was captured.
    NotCaptured,
    /// No such payment.
    NotFound,
}

/// A payment's place in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEntry {
    /// The payment.
    pub id: PaymentId,
    /// Its order.
    pub order: OrderId,
    /// Its amount.
    pub amount_minor: i64,
    /// Its currency.
    pub currency: Currency,
    /// Opened.
    pub created_at: Timestamp,
}

/// Keeps payments.
#[async_trait]
pub trait PaymentStore: Send + Sync + 'static {
    /// Opens a payment; opening the same id again changes nothing and answers what is stored.
    async fn open_payment(&self, payment: NewPayment) -> Result<Payment, StoreError>;

    /// Begins an attempt, fencing off all earlier ones.
    async fn begin_attempt(&self, id: PaymentId, worker: &str, at: Timestamp) -> Result<Begun, StoreError>;

    /// Notes in one line how an attempt ended, for people; decides nothing.
    async fn annotate_attempt(
        &self,
        id: PaymentId,
        epoch: u64,
        note: &str,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Records the outcome if `epoch` is the newest and nothing is decided.
    async fn record_decision(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: Decision,
        at: Timestamp,
    ) -> Result<Decided, StoreError>;

    /// One payment, read so that a decision under way is seen (SERIAL in Cassandra).
    async fn payment(&self, id: PaymentId) -> Result<Option<Payment>, StoreError>;

    /// The attempts of a payment, oldest first.
    async fn attempts(&self, id: PaymentId) -> Result<Vec<PaymentAttempt>, StoreError>;

    /// Which payment a provider's reference belongs to.
    async fn by_provider_reference(
        &self,
        provider: &str,
        reference: &str,
    ) -> Result<Option<PaymentId>, StoreError>;

    /// A merchant's payments opened on the UTC day of `day`, oldest first, after `after`, at most `limit`.
    async fn list_by_day(
        &self,
        merchant: MerchantId,
        day: Timestamp,
        after: Option<PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentEntry>, StoreError>;

    /// All payments in an order of the engine's own, after `after`, at most `limit`; for audits. One opened while it is
    /// walked may be missed, none that stood before is.
    async fn scan(&self, after: Option<PaymentId>, limit: u32) -> Result<Vec<PaymentEntry>, StoreError>;

    /// Begins a refund: reserves its amount out of what was captured.
    async fn begin_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        amount_minor: i64,
        at: Timestamp,
    ) -> Result<RefundBegun, StoreError>;

    /// Records how a refund ended; recorded once. Answers the recorded end, or `None` when it was never begun.
    async fn end_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        done: bool,
        provider_reference: &str,
        at: Timestamp,
    ) -> Result<Option<RefundState>, StoreError>;

    /// Whether the store can be used now; for readiness.
    async fn ping(&self) -> Result<(), StoreError>;
}
