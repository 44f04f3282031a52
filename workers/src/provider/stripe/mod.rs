//! Stripe: a charge is a `PaymentIntent` created and confirmed in one call, a refund is a Refund.
//!
//! Guarantees: amounts are Stripe's or the charge is declined (`amount`); answers are checked against what was asked;
//! statuses that nobody here could bring further end as declines and are cancelled at Stripe, so that they cannot
//! become money later. Holds no card data: a payment method is Stripe's token.
//!
//! # Once
//! Stripe keeps the answer of a call under its idempotency key, errors with status 500 included, for 24 hours at least;
//! then the same key makes a new charge. So:
//! - Within [`KEYS_KEPT`] of a payment's opening the job calls again under the same key, whatever it does not know. The
//!   body is a function of the payment, so the key always fits.
//! - After that the job looks for the charge before it asks for one ([`PaymentProvider::keys_kept`]).
//! - A refund is looked for among its charge's refunds before every call: there are few, and nobody waits.
//!
//! # What became of it
//! [`PaymentProvider::find`] must move no money, as it is also asked for orders that were cancelled, and "there is none"
//! must be definite. That rules out calling again under the key (it would charge what never arrived) and Stripe's search
//! by metadata (a minute late on a good day). A list is up to date as soon as it is answered, but can be told only
//! *when* to look: so the charges created around the payment's attempts are listed and told apart by their metadata. In
//! a shop with 10 charges a second the four minutes around one attempt are 24 pages; beyond a hundred pages
//! the answer is "unknown", and the job calls again under its key, or waits for Stripe's report. The rejected
//! alternative, to create the `PaymentIntent`, store its id and confirm it in a second call, would make the question
//! cheap and every charge slower by a call and a write.
//!
//! # Answers kept are old
//! A repeated call answers what was true when the first one was answered. Where that is no end (`processing`,
//! `requires_action`) the intent is read anew.
//!
//! Next: `client` for the exchange and its errors, `intents` for statuses, the crate `api` for Stripe's webhooks.

mod amount;
mod client;
mod error;
mod find;
mod form;
mod intents;
mod refunds;

use std::time::Duration;

use async_trait::async_trait;
use base::Ambient;
use secrecy::SecretString;
use url::Url;

pub use client::API_VERSION;
use client::Client;

use super::{
    CaptureRequest, ChargeOutcome, ChargeQuery, ChargeReport, ClientError, PaymentProvider, ProviderError,
    RefundOutcome, RefundRequest,
};

/// Stripe promises 24 hours; the difference is for clocks and calls on their way.
pub const KEYS_KEPT: Duration = Duration::from_hours(23);

/// How to reach Stripe.
#[derive(Debug, Clone)]
pub struct StripeConfig {
    /// `https://api.stripe.com`, but in tests.
    pub url: Url,
    /// `sk_…` or, better, a restricted key `rk_…` that may write payment intents and refunds.
    pub secret_key: SecretString,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// Stripe's API. Clones share the connections.
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
