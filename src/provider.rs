//! The payment provider of this process: for workers behind rate limit and circuit breaker, for audits by itself.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use base::Ambient;
use jobs::error::describe;
use secrecy::ExposeSecret;
use store::{OrderStore, PaymentStore};
use tokio::time::timeout;
use workers::{
    open_payments::{OpenElsewhere, open_elsewhere},
    provider::{
        ClientConfig, PaymentProvider,
        guard::{GuardConfig, Guarded},
        stripe::StripeProvider,
    },
};

use crate::{
    config::{Payments, ProviderKind},
    sandbox::{self, Sandbox},
};

/// Longest wait for the stores before the start goes on without [`check_open_payments`].
const CHECK_MAX: Duration = Duration::from_secs(10);

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

/// Fails while undecided payments are at another provider than this one: a change by mistake shows at the start. Stores
/// that are unavailable do not prevent it, as every job compares the provider again.
pub(crate) async fn check_open_payments(
    provider: &dyn PaymentProvider,
    orders: &dyn OrderStore,
    payments: &dyn PaymentStore,
    ambient: &Ambient,
) -> anyhow::Result<()> {
    let name = provider.name();
    match timeout(CHECK_MAX, open_elsewhere(orders, payments, name, ambient.now())).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(OpenElsewhere { payments, provider }))) => bail!(
            "payments.provider is \"{name}\", but at least {payments} undecided payments are at \"{provider}\": set it \
             back until they are decided, or cancel their orders"
        ),
        Ok(Err(error)) if !error.class().is_transient() => Err(error.into()),
        Ok(Err(error)) => {
            tracing::warn!(error = describe(&error), "provider of open payments not checked");
            Ok(())
        }
        Err(_) => {
            tracing::warn!(error = "timeout", "provider of open payments not checked");
            Ok(())
        }
    }
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
