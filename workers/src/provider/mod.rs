//! Contract of payment providers, and its implementations.
//!
//! Guarantees required of an implementation: a charge moves money once, either because its idempotency key is
//! remembered for ever, or because it is created first ([`PaymentProvider::create`]) and only the one recorded with
//! the payment is captured; an outcome is final at the provider, too; a decline is an outcome, not an error; an
//! error says whether money may have moved ([`ProviderError::may_have_happened`]). Each call ends within its own
//! deadline.
//!
//! [`sandbox_client`] calls [`sandbox_server`], a real server over HTTP; [`stripe`] calls Stripe. [`guard`] puts a rate
//! limit and a circuit breaker around either.

pub mod breaker;
mod calls;
mod error;
pub mod guard;
mod ledger;
pub mod sandbox_client;
pub mod sandbox_server;
pub mod stripe;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use store::domain::{Currency, OrderId, PaymentId, RefundId};

pub use calls::ProviderCalls;
pub use error::{ProviderError, Result};
pub use ledger::{EntryKind, Ledger, LedgerEntry, LedgerPage};
/// The final outcome of a charge is what its payment records as decision.
pub use store::domain::Decision as ChargeOutcome;
pub use wire::{ClientConfig, ClientError};

#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// Stable name, stored with each payment.
    fn name(&self) -> &'static str;

    /// Whether charges are created before they are captured. Otherwise the provider remembers keys for ever.
    fn creates_first(&self) -> bool {
        false
    }

    /// Creates a charge that moves no money before it is captured; see [`PaymentProvider::creates_first`].
    async fn create(&self, _request: &CaptureRequest) -> Result<Created> {
        Err(ProviderError::Protocol { detail: "charges_are_not_created" })
    }

    /// Captures money at once, or returns the decline.
    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome>;

    /// The outcome of a charge; `None`: it holds no money, and only a capture can change that. Moves no money.
    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>>;

    /// As [`PaymentProvider::find`], for an order that must not be charged any more: ends a charge without outcome as
    /// declined, where the provider can.
    async fn abandon(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>> {
        self.find(charge).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome>;

    /// The present state of the charge with this id of the provider, after a report about it; `None` is a definite
    /// "there is none". A provider that sends no reports need not implement it.
    async fn report(&self, _reference: &str) -> Result<Option<ChargeReport>> {
        Ok(None)
    }

    /// How long to wait, while no call would be let through and a job need not begin.
    fn paused(&self) -> Option<Duration> {
        None
    }

    /// The provider's ledger, where it can be read; for audits.
    fn ledger(&self) -> Option<&dyn Ledger> {
        None
    }
}

#[derive(Debug, Clone)]
pub struct CaptureRequest {
    /// See [`capture_key`].
    pub idempotency_key: String,
    pub amount_minor: i64,
    pub currency: Currency,
    /// The provider's token for card or account.
    pub method: String,
    /// Kept by the provider as metadata, for audits.
    pub order: OrderId,
    /// Kept by the provider as metadata, for audits.
    pub payment: PaymentId,
    /// The fencing epoch of the attempt.
    pub attempt: u64,
    /// The recorded charge; `None` where the provider creates none.
    pub charge: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// Created under the provider's id. It must be recorded before it is captured.
    Charge(String),
    /// It cannot be charged, with a stable code.
    Declined { code: String },
}

/// Query for a charge: its key and, where the provider created it first, its id.
#[derive(Debug, Clone)]
pub struct ChargeQuery {
    /// See [`capture_key`].
    pub idempotency_key: String,
    /// The recorded charge; see [`PaymentProvider::create`].
    pub charge: Option<String>,
}

#[derive(Debug, Clone)]
pub struct RefundRequest {
    /// See [`refund_key`].
    pub idempotency_key: String,
    /// The provider's id of the charge.
    pub charge: String,
    pub amount_minor: i64,
    pub currency: Currency,
    /// Kept by the provider as metadata, for audits.
    pub order: OrderId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundOutcome {
    /// The money is on its way back, under the provider's id of the refund.
    Done { reference: String },
    /// Rejected for good, with a stable code.
    Refused { code: String },
}

/// A charge and its refunds, as the provider has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeReport {
    /// The order in the metadata of the charge, if any.
    pub order: Option<OrderId>,
    /// Requested amount in minor units.
    pub amount_minor: i64,
    pub currency: Currency,
    /// `None` while the charge is in progress.
    pub outcome: Option<ChargeOutcome>,
    /// Refunds, oldest first.
    pub refunds: Vec<RefundReport>,
}

/// A refund, as the provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundReport {
    /// The provider's id of the refund.
    pub reference: String,
    /// Our id; `None` for a refund made by hand at the provider.
    pub refund: Option<RefundId>,
    pub amount_minor: i64,
    /// Outcome, final or expected.
    pub outcome: RefundOutcome,
}

/// The provider of payments of nothing: an order with the total 0 is paid without a call.
pub const NO_PROVIDER: &str = "none";

/// The idempotency key of a payment's capture: one per payment, never per attempt.
pub fn capture_key(payment: PaymentId) -> String {
    format!("{payment}:capture")
}

pub fn refund_key(refund: RefundId) -> String {
    refund.to_string()
}

/// The id of a refund made by hand at the provider, from the provider's id of it.
pub fn refund_by_hand(payment: PaymentId, reference: &str) -> RefundId {
    RefundId::derived(payment.0, reference)
}
