//! Mutations: defects injected around the simulated parts, to check that the simulation finds them.

use std::sync::Arc;

use async_trait::async_trait;
use base::Ambient;
use workers::provider::{
    CaptureRequest, ChargeOutcome, ChargeQuery, PaymentProvider, ProviderError, RefundOutcome, RefundRequest,
};

/// An injected defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// A job is acknowledged at delivery, before its effect is written: a crash loses it.
    AckBeforeWrite,
    /// A payment is decided whatever the epoch of the deciding attempt is.
    NoEpochCheck,
    /// Each call to the provider has a key of its own, so a repeated call is a new charge.
    FreshKeys,
}

/// Charges under a fresh key each time.
pub(crate) struct FreshKeys {
    pub(crate) inner: Arc<dyn PaymentProvider>,
    pub(crate) ambient: Ambient,
}

#[async_trait]
impl PaymentProvider for FreshKeys {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError> {
        let idempotency_key = self.ambient.uuid().to_string();
        self.inner.capture(&CaptureRequest { idempotency_key, ..request.clone() }).await
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        self.inner.find(charge).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome, ProviderError> {
        self.inner.refund(request).await
    }
}
