//! Settings of payment providers.

use std::{num::NonZeroU32, time::Duration};

use jobs::limits::CONCURRENT_MAX;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use store::domain::Currency;
use url::{Host, Url};
use workers::provider::{guard::Rate, stripe};

use super::{network::PlainHosts, reader::Reader};

const CALLS_MAX: u32 = 100_000;
/// Stripe allows 100 calls per second per account in live mode; the rest is left for its other users.
const STRIPE_CALLS: Rate = Rate {
    per_second: const { NonZeroU32::new(80).unwrap() },
    burst: const { NonZeroU32::new(80).unwrap() },
};

#[derive(Debug, Clone)]
pub(crate) struct Payments {
    pub(crate) provider: ProviderKind,
    /// `None`: the sandbox inside `dev`.
    pub(crate) provider_url: Option<Url>,
    pub(crate) provider_key: SecretString,
    pub(crate) stripe_key: SecretString,
    /// `None` after a mistake that was reported.
    pub(crate) stripe_url: Option<Url>,
    pub(crate) timeout: Duration,
    /// Rate limit of this process's calls to the provider.
    pub(crate) rate: Option<Rate>,
    /// Charges at once, over all worker processes; `None`: no limit.
    pub(crate) concurrent_max: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProviderKind {
    Sandbox,
    Stripe,
}

impl ProviderKind {
    /// Whether the provider can take an amount in minor units of a currency.
    pub(super) const fn takes(self) -> fn(i64, Currency) -> bool {
        match self {
            Self::Sandbox => |_, _| true,
            Self::Stripe => stripe::takes,
        }
    }
}

impl Payments {
    pub(super) fn read(r: &mut Reader, plain: &PlainHosts) -> Self {
        let provider_url: Option<Url> = r.optional("payments", "provider_url");
        if let Some(url) = &provider_url {
            plain.check_url(r, ("payments", "provider_url"), url.as_str(), "https");
        }
        let provider = r.value("payments", "provider", ProviderKind::Sandbox);
        let payments = Self {
            provider,
            provider_url,
            provider_key: r.text("payments", "provider_key").into(),
            stripe_key: r.text("payments", "stripe_key").into(),
            stripe_url: r.optional("payments", "stripe_url"),
            timeout: Duration::from_millis(r.within("payments", "timeout_ms", 100..=120_000)),
            rate: rate(r, provider),
            concurrent_max: at_once(r, "payments", "concurrent_max"),
        };
        payments.check(r);
        payments
    }

    /// Reports mistakes that would otherwise show with the first charge, or never. Secret values are not repeated.
    fn check(&self, r: &mut Reader) {
        let key = self.stripe_key.expose_secret();
        if !key.is_empty() && !key.starts_with("sk_") && !key.starts_with("rk_") {
            r.fault("payments", "stripe_key", "must be a secret (sk_…) or restricted (rk_…) key");
        }
        let may_be_called = self.stripe_url.as_ref().is_some_and(|url| match (url.scheme(), url.host()) {
            ("https", Some(_)) => true,
            ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
            ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
            ("http", Some(Host::Domain(name))) => name == "localhost",
            _ => false,
        });
        if !may_be_called {
            r.fault("payments", "stripe_url", "must be https, or http on this machine");
        }
    }
}

pub(super) fn stripe_webhook_secrets(r: &mut Reader) -> Vec<SecretString> {
    let secrets = r.secrets("payments", "stripe_webhook_secrets");
    if secrets.iter().any(|secret| !secret.expose_secret().starts_with("whsec_")) {
        r.fault("payments", "stripe_webhook_secrets", "must be signing secrets (whsec_…)");
    }
    secrets
}

/// A number of jobs at once, over all worker processes. Zero means no limit.
pub(super) fn at_once(r: &mut Reader, section: &str, key: &str) -> Option<u32> {
    Some(r.within(section, key, 0..=CONCURRENT_MAX)).filter(|most| *most > 0)
}

/// Zero means the provider's default.
fn rate(r: &mut Reader, provider: ProviderKind) -> Option<Rate> {
    let mut calls = |key| NonZeroU32::new(r.within("payments", key, 0..=CALLS_MAX));
    match (calls("calls_per_second"), calls("calls_burst")) {
        (Some(per_second), burst) => Some(Rate { per_second, burst: burst.unwrap_or(per_second) }),
        (None, _) => (provider == ProviderKind::Stripe).then_some(STRIPE_CALLS),
    }
}
