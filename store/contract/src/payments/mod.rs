//! The payment store: append-only rows and one conditional decision per payment.
//!
//! Guarantees: facts are never changed; each attempt gets a fencing epoch above all earlier ones; a decision is
//! recorded once and only by the newest epoch, so a worker that was paused past its lease cannot write. The same
//! holds for the provider's id of the charge, which is recorded before the charge can move money, so a payment has
//! one charge. Fits Cassandra lightweight transactions: one partition per payment, every condition on that
//! partition.
//!
//! Does not call providers: the workers do.

pub mod rejection;

use async_trait::async_trait;
use base::Timestamp;

use crate::{
    domain::{
        Currency, Decision, MerchantId, OrderId, Payment, PaymentAttempt, PaymentId, RefundId, RefundState,
    },
    error::Result,
};

/// A payment to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayment {
    /// [`PaymentId::of_order`].
    pub id: PaymentId,
    pub order: OrderId,
    pub merchant: MerchantId,
    /// Amount to capture, in minor units.
    pub amount_minor: i64,
    pub currency: Currency,
    /// The provider's token of the payment method.
    pub method: String,
    pub provider: String,
    /// Time of the call.
    pub at: Timestamp,
}

/// Result of [`PaymentStore::begin_attempt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Begun: write with this epoch.
    Attempt {
        /// The fencing epoch, 1 for the first attempt.
        epoch: u64,
    },
    /// The payment is decided; nothing begun.
    Decided(Decision),
    NotFound,
}

/// Result of [`PaymentStore::record_charge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeRecorded {
    /// The charge of the payment: the one given, or one recorded before, which is to be confirmed in its place.
    Charge(String),
    /// The payment is decided; nothing recorded.
    Decided(Decision),
    /// A newer attempt has begun; this one must not write.
    Stale {
        current_epoch: u64,
    },
    NotFound,
}

/// Result of [`PaymentStore::record_decision`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    Recorded,
    /// An earlier decision stands.
    Already(Decision),
    /// A newer attempt has begun; this one must not write.
    Stale {
        current_epoch: u64,
    },
    NotFound,
}

/// Result of [`PaymentStore::begin_refund`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundBegun {
    /// Begun now or before, without a recorded result: call the provider (idempotent by the refund's id).
    Open,
    /// The result was recorded before.
    Ended(RefundState),
    /// Open and done refunds would exceed the captured amount.
    TooMuch {
        /// The refundable remainder, in minor units.
        refundable_minor: i64,
    },
    NotCaptured,
    NotFound,
}

/// A payment in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEntry {
    pub id: PaymentId,
    pub order: OrderId,
    /// Amount to capture, in minor units.
    pub amount_minor: i64,
    pub currency: Currency,
    pub created_at: Timestamp,
}

/// Payments, attempts, decisions and refunds.
#[async_trait]
pub trait PaymentStore: Send + Sync + 'static {
    /// Opens a payment; opening the same id again changes nothing and returns the stored payment.
    async fn open_payment(&self, payment: NewPayment) -> Result<Payment>;

    /// Begins an attempt and fences off all earlier ones.
    async fn begin_attempt(&self, id: PaymentId, worker: &str, at: Timestamp) -> Result<Begun>;

    /// Stores one line about how an attempt ended, for operators; decides nothing.
    async fn annotate_attempt(&self, id: PaymentId, epoch: u64, note: &str, at: Timestamp) -> Result<()>;

    /// Records the provider's id of a charge that cannot move money before it is confirmed, if `epoch` is the newest
    /// and nothing is decided. The first one recorded stands.
    async fn record_charge(
        &self,
        id: PaymentId,
        epoch: u64,
        reference: &str,
        at: Timestamp,
    ) -> Result<ChargeRecorded>;

    /// Records the decision if `epoch` is the newest and nothing is decided.
    async fn record_decision(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: Decision,
        at: Timestamp,
    ) -> Result<Decided>;

    /// One payment, read so that a decision in flight is seen (SERIAL in Cassandra).
    async fn payment(&self, id: PaymentId) -> Result<Option<Payment>>;

    /// Many payments, each as [`PaymentStore::payment`] returns it, in any sequence; without those not stored. Fails if
    /// one does not read back.
    async fn payments(&self, ids: &[PaymentId]) -> Result<Vec<Payment>>;

    /// The payment to display: every answered write is seen, one in flight may not be, and none is disturbed. A SERIAL
    /// read of Cassandra would make the decision that it meets start again, so that polling could delay it for ever.
    async fn committed_payment(&self, id: PaymentId) -> Result<Option<Payment>> {
        self.payment(id).await
    }

    /// Many payments to display, each as [`PaymentStore::committed_payment`] returns it, otherwise as
    /// [`PaymentStore::payments`].
    async fn committed_payments(&self, ids: &[PaymentId]) -> Result<Vec<Payment>> {
        self.payments(ids).await
    }

    /// The attempts of a payment, oldest first.
    async fn attempts(&self, id: PaymentId) -> Result<Vec<PaymentAttempt>>;

    /// The payment with this provider reference.
    async fn by_provider_reference(&self, provider: &str, reference: &str) -> Result<Option<PaymentId>>;

    /// A merchant's payments opened on the UTC day of `day`, oldest first, after `after`, at most `limit`.
    async fn list_by_day(
        &self,
        merchant: MerchantId,
        day: Timestamp,
        after: Option<PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentEntry>>;

    /// All payments in the engine's own order, after `after`, at most `limit`; for audits. A payment opened during the
    /// scan may be missed, an earlier one is not.
    async fn scan(&self, after: Option<PaymentId>, limit: u32) -> Result<Vec<PaymentEntry>>;

    /// Begins a refund: reserves its amount out of the captured amount.
    async fn begin_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        amount_minor: i64,
        at: Timestamp,
    ) -> Result<RefundBegun>;

    /// Records the result of a refund, once. Returns the recorded state, or `None` when the refund was never begun.
    async fn end_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        done: bool,
        provider_reference: &str,
        at: Timestamp,
    ) -> Result<Option<RefundState>>;

    /// Whether the store can be used now; for readiness checks.
    async fn ping(&self) -> Result<()>;
}
