//! The contract of a payment provider.
//!
//! Guarantees asked of an implementation: a call repeated under its idempotency key takes effect once and gives the
//! same answer; a decline is an outcome, not an error; an error says whether money may have moved
//! ([`ProviderError::may_have_happened`]). Each call answers within its own deadline.
//!
//! [`sandbox_client`] speaks to [`sandbox_server`], a real server over HTTP; a production provider goes beside it.

mod ledger;
pub mod sandbox_client;
pub mod sandbox_server;

use std::time::Duration;

use async_trait::async_trait;
use store::domain::{Currency, OrderId, PaymentId, RefundId};

pub use ledger::{Ledger, LedgerEntry, LedgerPage, Movement};

/// Moves money.
#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// Stable name, stored with each payment.
    fn name(&self) -> &'static str;

    /// Captures money at once, or learns that it never will be.
    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError>;

    /// What became of the charge with this key; `None` is a definite "there is none".
    async fn find(&self, key: &str) -> Result<Option<ChargeOutcome>, ProviderError>;

    /// Gives money back.
    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome, ProviderError>;

    /// The provider's own books, where they can be read; for audits.
    fn ledger(&self) -> Option<&dyn Ledger> {
        None
    }
}

/// Money to capture.
#[derive(Debug, Clone)]
pub struct CaptureRequest {
    /// See [`capture_key`].
    pub idempotency_key: String,
    /// How much.
    pub amount_minor: i64,
    /// Of the amount.
    pub currency: Currency,
    /// The provider's token for card or account.
    pub method: String,
    /// Kept by the provider as metadata, for audits.
    pub order: OrderId,
}

/// Money to give back.
#[derive(Debug, Clone)]
pub struct RefundRequest {
    /// See [`refund_key`].
    pub idempotency_key: String,
    /// The provider's id of the charge.
    pub charge: String,
    /// How much.
    pub amount_minor: i64,
    /// Kept by the provider as metadata, for audits.
    pub order: OrderId,
}

/// How a charge ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeOutcome {
    /// The money is ours.
    Captured {
        /// The provider's id of the charge.
        reference: String,
    },
    /// It never will be under this key.
    Declined {
        /// Stable code, such as `card_declined`.
        code: String,
    },
}

/// How a refund ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundOutcome {
    /// The money is on its way back.
    Done {
        /// The provider's id of the refund.
        reference: String,
    },
    /// Refused for good.
    Refused {
        /// Stable code.
        code: String,
    },
}

/// Why a provider gave no outcome. The texts are stable and name no data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// Not reached, or it said that it cannot work now; nothing was done.
    #[error("provider_unavailable")]
    Unavailable {
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Too many requests; nothing was done.
    #[error("provider_rate_limited")]
    RateLimited {
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Our credentials were refused; nothing was done, and people must act.
    #[error("provider_authentication")]
    Authentication,
    /// The request went out and no answer came back: it may have been done.
    #[error("provider_unknown: {cause}")]
    Unknown {
        /// `timeout`, `connection_lost` or `server_error`.
        cause: &'static str,
    },
    /// The answer makes no sense, or is about something else than asked; people must look.
    #[error("provider_protocol: {detail}")]
    Protocol {
        /// What is wrong with it.
        detail: &'static str,
    },
}

impl ProviderError {
    /// Whether the money may have moved nevertheless, so that the provider must be asked before anything is decided.
    pub const fn may_have_happened(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Protocol { .. })
    }
}

/// The idempotency key of a payment's capture: one per payment, never per attempt.
pub fn capture_key(payment: PaymentId) -> String {
    format!("{payment}:capture")
}

/// The idempotency key of a refund.
pub fn refund_key(refund: RefundId) -> String {
    refund.to_string()
}
