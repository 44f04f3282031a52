//! Address and credentials of Stripe.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

#[derive(Debug, Clone)]
pub struct StripeConfig {
    /// Base URL: `https://api.stripe.com`, except in tests.
    pub url: Url,
    /// `sk_…` or, better, a restricted key `rk_…` that may write payment intents and refunds.
    pub secret_key: SecretString,
    /// Longest wait for one answer.
    pub timeout: Duration,
}
