//! Errors of payment providers: each says whether money may have moved.

use std::time::Duration;

/// What a provider answers.
pub type Result<T, E = ProviderError> = std::result::Result<T, E>;

/// Why a provider gave no outcome. The texts are stable and name no data; a `retry_after` is the wait that the provider
/// requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// Not reached, or out of service for now; the call had no effect.
    #[error("provider_unavailable")]
    Unavailable { retry_after: Option<Duration> },
    /// Too many requests; the call had no effect.
    #[error("provider_rate_limited")]
    RateLimited { retry_after: Option<Duration> },
    /// Our credentials were rejected; the call had no effect, and an operator must act.
    #[error("provider_authentication")]
    Authentication,
    /// The call was not made: the breaker is open, or this process has reached its rate limit.
    #[error("provider_paused")]
    Paused { wait: Duration },
    /// The operation is in progress; it need only be looked up again.
    #[error("provider_pending")]
    Pending { look_again: Duration },
    /// A bank debit is in progress, which takes days; it need only be looked up again.
    #[error("provider_debit_under_way")]
    Debit { look_again: Duration },
    /// The request was sent and no answer came: it may have taken effect.
    #[error("provider_unknown: {cause}")]
    Unknown {
        /// `timeout`, `connection_lost`, `server_error` or `too_many_to_search` (refunds of one charge).
        cause: &'static str,
    },
    /// The answer is invalid, or about something else than requested; manual action is required.
    #[error("provider_protocol: {detail}")]
    Protocol { detail: &'static str },
}

impl ProviderError {
    /// The search was cut short: what was looked for is neither found nor known to be missing, though the provider
    /// works.
    pub(crate) const TOO_MANY_TO_SEARCH: Self = Self::Unknown { cause: "too_many_to_search" };

    /// The provider does not know a charge that it captured for us: the key of another account or mode is in use. Not a
    /// refusal, which would be final.
    pub(crate) const OWN_CHARGE_MISSING: Self = Self::Protocol { detail: "own_charge_missing" };

    /// Whether money may have moved nevertheless, so that the provider must be asked before anything is decided.
    pub const fn may_have_happened(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Protocol { .. })
    }
}
