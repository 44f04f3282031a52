//! The payment provider that workers of this process call: the configured one, guarded.

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

/// Sets the provider up; calls nobody. A sandbox of this process stands in where the configuration names none.
pub(crate) fn connect(
    payments: &Payments,
    sandbox: Option<&Sandbox>,
    ambient: &Ambient,
) -> anyhow::Result<Arc<Guarded>> {
    let provider: Arc<dyn PaymentProvider> = match payments.provider {
        ProviderKind::Sandbox => {
            let provider = sandbox::Provider::choose(payments, sandbox)?;
            Arc::new(provider.connect(payments.timeout, ambient)?)
        }
        ProviderKind::Stripe => Arc::new(stripe(payments, ambient)?),
    };
    let config = GuardConfig { rate: payments.rate(), ..GuardConfig::default() };
    Ok(Arc::new(Guarded::new(provider, config, ambient.clone())))
}

/// Only workers need the key, so only they ask for it.
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
