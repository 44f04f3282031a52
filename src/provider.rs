//! The payment provider for the workers of this process: the configured one, behind rate limit and circuit breaker.

use std::sync::Arc;

use anyhow::Context;
use base::Ambient;
use secrecy::ExposeSecret;
use workers::provider::{
    PaymentProvider,
    guard::{GuardConfig, Guarded},
    stripe::{StripeConfig, StripeProvider},
};

use crate::{
    config::{Payments, ProviderKind},
    sandbox::{self, Sandbox},
};

/// Builds the provider without calling it. Without a configured provider the sandbox of this process is used.
pub(crate) fn connect(
    payments: &Payments,
    sandbox: Option<&Sandbox>,
    ambient: &Ambient,
) -> anyhow::Result<Arc<Guarded>> {
    let provider: Arc<dyn PaymentProvider> = match payments.provider {
        ProviderKind::Sandbox => Arc::new(sandbox::connect(payments, sandbox, ambient)?),
        ProviderKind::Stripe => Arc::new(stripe(payments, ambient)?),
    };
    let config = GuardConfig { rate: payments.rate, ..GuardConfig::default() };
    Ok(Arc::new(Guarded::new(provider, config, ambient.clone())))
}

/// Only workers need the key, so only they require it.
fn stripe(payments: &Payments, ambient: &Ambient) -> anyhow::Result<StripeProvider> {
    let key = Some(&payments.stripe_key).filter(|key| !key.expose_secret().is_empty());
    let secret_key = key.context("payments.stripe_key must be set when payments.provider is \"stripe\"")?;
    let config = StripeConfig {
        url: payments.stripe_url.clone().context("payments.stripe_url must be set")?,
        secret_key: secret_key.clone(),
        timeout: payments.timeout,
    };
    Ok(StripeProvider::new(config, ambient.clone())?)
}
