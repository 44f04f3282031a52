//! Stripe provider: a charge is a `PaymentIntent`, created and then confirmed; a refund is a Refund.
//!
//! Guarantees: an amount that Stripe cannot take is declined (`amount`); answers are checked against the request; an
//! outcome is final at Stripe, too: an intent whose status nothing here can advance is cancelled before it counts as
//! declined, so that it cannot become money later. Holds no card data: a payment method is Stripe's token.
//!
//! # One charge per payment
//! An intent moves no money before it is confirmed, and at most once. Its id is recorded in the payment store, under
//! the attempt's fencing epoch, before it is confirmed, and only the recorded one is: so a payment has one charge,
//! whatever Stripe still knows of idempotency keys, and no clock is compared with Stripe's. An intent whose creation
//! was not answered, or not recorded, is left unconfirmed and never holds money.
//! - A lookup reads the recorded intent. An order that ended otherwise has it cancelled.
//! - Keys are those of an attempt: Stripe keeps an answer with status 500 under its key for a day, and the next attempt
//!   must get another one.
//! - A refund is looked up among its charge's refunds before every call: they are few, and no customer waits.
//!
//! Rejected alternative: create and confirm in one call and look for a lost answer by the time of its request. It
//! saves a call and a write per charge, and loses money where the clocks differ or the list is long.
//!
//! Next: `client` for the exchange, `error` for its statuses, `objects` for what Stripe answers, `intents` for charges,
//! the crate `api` for Stripe's webhooks.

mod amount;
mod client;
mod config;
mod error;
mod form;
mod intents;
mod ledger;
mod objects;
mod refunds;

use async_trait::async_trait;
use base::Ambient;

pub use amount::takes;
pub use client::API_VERSION;
use client::Client;
pub use config::StripeConfig;

use super::{
    CaptureRequest, ChargeOutcome, ChargeQuery, ChargeReport, ClientError, Created, Ledger, PaymentProvider,
    ProviderError, RefundOutcome, RefundRequest,
};

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

    fn creates_first(&self) -> bool {
        true
    }

    async fn create(&self, request: &CaptureRequest) -> Result<Created, ProviderError> {
        intents::create(&self.client, request).await
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError> {
        intents::capture(&self.client, request).await
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        intents::find(&self.client, charge).await
    }

    async fn abandon(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        intents::abandon(&self.client, charge).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome, ProviderError> {
        refunds::refund(&self.client, request).await
    }

    async fn report(&self, reference: &str) -> Result<Option<ChargeReport>, ProviderError> {
        intents::report(&self.client, reference).await
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }
}
