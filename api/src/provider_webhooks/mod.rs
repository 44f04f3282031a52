//! What payment providers report by themselves.
//!
//! Guarantees: nothing that was not signed with a known secret within the last minutes is read ([`signature`]); a report
//! is on disk before it is answered with 200; told again, it changes nothing: it is stored under an id derived from the
//! provider's own. A report only gives cause to look: the job that follows asks the provider how the charge stands, so
//! reports may come late, twice, in any order or not at all.
//!
//! Not in the OpenAPI document, as it is not for merchants; served only where a secret is configured. Takes no API key.
//! What it does not know, or is not about an order of this shop, is answered with 200 and dropped: the account may be
//! used for other things, and anything else would make the provider send it again for days.

mod signature;
mod stripe;

use axum::{Router, routing::post};

use crate::{config::ApiConfig, state::ApiState};

/// The routes of the providers that are set up.
pub(crate) fn routes(config: &ApiConfig) -> Router<ApiState> {
    if config.stripe_webhook_secrets.is_empty() {
        return Router::new();
    }
    Router::new().route("/v1/provider_webhooks/stripe", post(stripe::take))
}
