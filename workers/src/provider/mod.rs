//! The contract of a payment provider.
//!
//! Guarantees asked of an implementation: a call repeated under its idempotency key takes effect once and gives the
//! same answer, for at least [`PaymentProvider::keys_kept`]; a decline is an outcome, not an error; an error says
//! whether money may have moved ([`ProviderError::may_have_happened`]). Each call answers within its own deadline.
//!
//! [`sandbox_client`] speaks to [`sandbox_server`], a real server over HTTP; [`stripe`] to Stripe. [`guard`] puts a rate
//! limit and a circuit breaker around either.

pub mod breaker;
pub mod guard;
mod ledger;
pub mod sandbox_client;
pub mod sandbox_server;
pub mod stripe;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use store::domain::{Currency, OrderId, PaymentId, RefundId};

pub use ledger::{EntryKind, Ledger, LedgerEntry, LedgerPage};
pub use wire::ClientError;

/// Moves money.
#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// Stable name, stored with each payment.
    fn name(&self) -> &'static str;

    /// Captures money at once, or learns that it never will be.
    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError>;

    /// What became of a charge; `None` is a definite "there is none". Moves no money.
    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError>;

    /// Gives money back.
    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome, ProviderError>;

    /// All that is known of the charge with this id of the provider's own, for one who was told to look; `None` is a
    /// definite "there is none". A provider that tells nobody to look need not know.
    async fn report(&self, _reference: &str) -> Result<Option<ChargeReport>, ProviderError> {
        Ok(None)
    }

    /// How long an idempotency key is remembered. An older charge must be looked for before it is asked for again.
    fn keys_kept(&self) -> Duration {
        Duration::MAX
    }

    /// Set while no call would be let through, so that a job need not begin: how long to wait.
    fn paused(&self) -> Option<Duration> {
        None
    }

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
    /// Kept by the provider as metadata, to be found by.
    pub payment: PaymentId,
}

/// A charge to look for: all that its request said and when it was made.
#[derive(Debug, Clone)]
pub struct ChargeQuery {
    /// See [`capture_key`].
    pub idempotency_key: String,
    /// What was asked for.
    pub amount_minor: i64,
    /// Of the amount.
    pub currency: Currency,
    /// As in the request.
    pub payment: PaymentId,
    /// When its attempts began: a provider that can look by time only need look nowhere else.
    pub asked_at: Vec<Timestamp>,
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
    /// Of the amount.
    pub currency: Currency,
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

/// A charge and its refunds, as the provider has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeReport {
    /// The order that the charge was made for, if it says so.
    pub order: Option<OrderId>,
    /// What was asked for.
    pub amount_minor: i64,
    /// Of all amounts.
    pub currency: Currency,
    /// `None` while it is under way.
    pub outcome: Option<ChargeOutcome>,
    /// Oldest first.
    pub refunds: Vec<RefundReport>,
}

/// A refund, as the provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundReport {
    /// The provider's id of it.
    pub reference: String,
    /// Ours; `None` for one that somebody made at the provider.
    pub refund: Option<RefundId>,
    /// How much.
    pub amount_minor: i64,
    /// How it ended, or is about to.
    pub outcome: RefundOutcome,
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
    /// The call was not made: the provider is given a rest, or this process has called it as often as it may.
    #[error("provider_paused")]
    Paused {
        /// When to come again.
        wait: Duration,
    },
    /// It was done and takes its time, such as a bank transfer; nothing is to be done but look again.
    #[error("provider_pending")]
    Pending {
        /// When that makes sense.
        look_again: Duration,
    },
    /// The request went out and no answer came back: it may have been done.
    #[error("provider_unknown: {cause}")]
    Unknown {
        /// `timeout`, `connection_lost`, `server_error` or `too_many_to_search`.
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
    /// Neither found nor known to be none, though the provider works.
    pub(crate) const TOO_MANY_TO_SEARCH: Self = Self::Unknown { cause: "too_many_to_search" };

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
