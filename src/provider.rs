//! The payment provider of this process: for workers behind rate limit and circuit breaker, for audits by itself.

use std::sync::Arc;

use anyhow::Context;
use base::Ambient;
use secrecy::ExposeSecret;
use workers::provider::{
    ClientConfig, PaymentProvider,
    guard::{GuardConfig, Guarded},
    stripe::StripeProvider,
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
    let provider = client(payments, sandbox, ambient)?;
    let config = GuardConfig { rate: payments.rate, ..GuardConfig::default() };
    Ok(Arc::new(Guarded::new(provider, config, ambient.clone())))
}

/// The provider whose ledger an audit can read; none where no sandbox, or no key of Stripe, is known.
pub(crate) fn with_ledger(
    payments: &Payments,
    sandbox: Option<&Sandbox>,
    ambient: &Ambient,
) -> anyhow::Result<Option<Arc<dyn PaymentProvider>>> {
    let is_known = match payments.provider {
        ProviderKind::Sandbox => payments.provider_url.is_some() || sandbox.is_some(),
        ProviderKind::Stripe => !payments.stripe_key.expose_secret().is_empty(),
    };
    is_known.then(|| client(payments, sandbox, ambient)).transpose()
}

fn client(
    payments: &Payments,
    sandbox: Option<&Sandbox>,
    ambient: &Ambient,
) -> anyhow::Result<Arc<dyn PaymentProvider>> {
    Ok(match payments.provider {
        ProviderKind::Sandbox => Arc::new(sandbox::connect(payments, sandbox, ambient)?),
        ProviderKind::Stripe => Arc::new(stripe(payments, ambient)?),
    })
}

/// Only workers and audits need the key, so only they require it.
fn stripe(payments: &Payments, ambient: &Ambient) -> anyhow::Result<StripeProvider> {
    let key = Some(&payments.stripe_key).filter(|key| !key.expose_secret().is_empty());
    let key = key.context("payments.stripe_key must be set when payments.provider is \"stripe\"")?;
    let config = ClientConfig {
        url: payments.stripe_url.clone().context("payments.stripe_url must be set")?,
        key: key.clone(),
        timeout: payments.timeout,
    };
    Ok(StripeProvider::new(config, ambient.clone())?)
}
