//! Webhooks of payment providers.
//!
//! Guarantees: a webhook is read only if it was signed with a known secret within the last minutes ([`signature`]). It
//! is on disk before it is answered with 200. A repeated webhook changes nothing, because it is stored under an id
//! derived from the provider's own. A webhook is only a hint: the job that follows asks the provider for the state of
//! the charge, so webhooks may come late, twice, in any order or not at all.
//!
//! Not in the OpenAPI document, as it is not for merchants; served only where a secret is configured. Takes no API key.
//! Webhooks of unknown kinds or about no order of this shop are answered with 200 and dropped: the provider account may
//! be used for other things, and any other answer would make the provider retry for days.

mod signature;
mod stripe;

use axum::{Router, routing::post};

use crate::{config::ApiConfig, state::ApiState};

/// Whether the signature is accepted.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn is_signed(
    secrets: &[secrecy::SecretString],
    header: &str,
    body: &[u8],
    now: base::Timestamp,
) -> bool {
    signature::verify(secrets, header, body, now).is_ok()
}

/// Routes of the configured providers.
pub(crate) fn routes(config: &ApiConfig) -> Router<ApiState> {
    if config.stripe_webhook_secrets.is_empty() {
        return Router::new();
    }
    Router::new().route("/v1/provider_webhooks/stripe", post(stripe::take))
}
