//! Stripe provider: a charge is a `PaymentIntent` created and confirmed in one call, a refund is a Refund.
//!
//! Guarantees: an amount that Stripe cannot take is declined (`amount`); answers are checked against the request; an
//! intent whose status nothing here can advance ends as a decline and is cancelled at Stripe, so that it cannot become
//! money later. Holds no card data: a payment method is Stripe's token.
//!
//! # One charge per payment
//! Stripe keeps the answer of a call under its idempotency key, errors with status 500 included, for 24 hours at least;
//! then the same key makes a new charge. So:
//! - Within [`KEYS_KEPT`] of a payment's opening the job calls again under the same key, whatever is unknown. The body
//!   is a function of the payment, so the key always fits.
//! - After that the job looks the charge up before it requests one ([`PaymentProvider::keys_kept`]).
//! - A refund is looked up among its charge's refunds before every call: they are few, and no customer waits.
//!
//! # Lookup of a charge
//! [`PaymentProvider::find`] must move no money, as it also serves cancelled orders, and "there is none" must be
//! definite. That rules out a second call under the key (it would charge what never arrived) and Stripe's search by
//! metadata (a minute late under normal conditions). A list is up to date when it is answered, but can be filtered by
//! *time* only: so the charges created around the payment's attempts are listed and told apart by their metadata. In a
//! shop with 10 charges a second the four minutes around one attempt are 24 pages; beyond a hundred pages the answer is
//! "unknown", and the job calls again under its key, or waits for Stripe's report. Rejected alternative: create the
//! `PaymentIntent`, store its id and confirm it in a second call. That would make the lookup cheap and every charge
//! slower by a call and a write.
//!
//! # Age of repeated answers
//! A repeated call gets the state at the time of the first answer. Where that is not final (`processing`,
//! `requires_action`) the intent is read again.
//!
//! Next: `client` for the exchange, `error` for its statuses, `objects` for what Stripe answers, `intents` for charges,
//! the crate `api` for Stripe's webhooks.

mod amount;
mod client;
mod config;
mod error;
mod find;
mod form;
mod intents;
mod objects;
mod refunds;

use std::time::Duration;

use async_trait::async_trait;
use base::Ambient;

pub use amount::takes;
pub use client::API_VERSION;
use client::Client;
pub use config::StripeConfig;

use super::{
    CaptureRequest, ChargeOutcome, ChargeQuery, ChargeReport, ClientError, PaymentProvider, ProviderError,
    RefundOutcome, RefundRequest,
};

/// How long keys are relied on. Stripe promises 24 hours; the difference is for clock skew and calls in flight.
pub const KEYS_KEPT: Duration = Duration::from_hours(23);

/// The Stripe provider; clones share the connections.
#[derive(Clone)]
pub struct StripeProvider {
    client: Client,
}

impl StripeProvider {
    /// Sets up the client; connects only when used.
    pub fn new(config: StripeConfig, ambient: Ambient) -> Result<Self, ClientError> {
        Ok(Self { client: Client::new(config, ambient)? })
    }
}

#[async_trait]
impl PaymentProvider for StripeProvider {
    fn name(&self) -> &'static str {
        "stripe"
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError> {
        intents::capture(&self.client, request).await
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        find::find(&self.client, charge).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome, ProviderError> {
        refunds::refund(&self.client, request).await
    }

    async fn report(&self, reference: &str) -> Result<Option<ChargeReport>, ProviderError> {
        intents::report(&self.client, reference).await
    }

    fn keys_kept(&self) -> Duration {
        KEYS_KEPT
    }
}
