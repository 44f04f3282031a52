//! Limits of jobs over all worker processes: charges for an account at the provider, deliveries to an endpoint, mails
//! to a domain.
//!
//! Off unless set. A limit counts runs: a mail that its server postpones takes a start again when it is repeated, and a
//! slot only while it is handed over. Jobs that name no domain, as those of an earlier release, have no limit of mails;
//! the relay names it, see [`crate::mail_domain`]. Beside them each process has limits of its own, see
//! [`crate::provider::guard`] and [`webhooks::shares`].

use jobs::{
    Job,
    limits::{KEY_BYTES_MAX, Limit, LimitError, Rate},
    registry::{RegisterError, Registry},
};

use crate::{
    env::Env,
    jobs::{ChargePayment, DeliverWebhook, SendEmail, SendVerification, SendWelcome},
};

/// Names of the limits, as `inspect limits` shows them.
const CHARGES: &str = "charges";
const DELIVERIES: &str = "deliveries";
const MAILS: &str = "mails";

/// The limits; `None`: no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobLimits {
    /// Charges at once for the account at the provider.
    pub charges: Option<u32>,
    /// Deliveries at once to one endpoint.
    pub deliveries: Option<u32>,
    /// Mails to one domain.
    pub mails: Option<PerDomain>,
}

/// Mails to one domain: how many at once, how many begun in a period, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerDomain {
    pub at_once: Option<u32>,
    pub rate: Option<Rate>,
}

/// Why jobs cannot be limited so.
#[derive(Debug, thiserror::Error)]
pub enum LimitedError {
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error(transparent)]
    Register(#[from] RegisterError),
}

impl JobLimits {
    /// Gives the jobs of a registry these limits. Of a provider, named as it names itself, there is one account.
    pub fn apply(
        self,
        registry: Registry<Env>,
        provider: &'static str,
    ) -> Result<Registry<Env>, LimitedError> {
        let registry = match self.charges {
            Some(most) => {
                let key = move |_: &ChargePayment| Some(provider.to_owned());
                registry.limit(Limit::concurrent(CHARGES, most)?, key)?
            }
            None => registry,
        };
        let registry = match self.deliveries {
            Some(most) => {
                let key = |delivery: &DeliverWebhook| Some(delivery.endpoint.to_string());
                registry.limit(Limit::concurrent(DELIVERIES, most)?, key)?
            }
            None => registry,
        };
        let Some(PerDomain { at_once, rate }) = self.mails else { return Ok(registry) };
        let limit = Limit::new(MAILS, at_once, rate)?;
        // One limit for all mails: it is the receiving servers that bear no more.
        let registry = of_domain::<SendEmail>(registry, &limit, |mail| mail.domain.as_deref())?;
        let registry = of_domain::<SendVerification>(registry, &limit, |mail| mail.domain.as_deref())?;
        of_domain::<SendWelcome>(registry, &limit, |mail| mail.domain.as_deref())
    }
}

/// Limits a kind of mails by the domain that its jobs name.
fn of_domain<J: Job<Env = Env>>(
    registry: Registry<Env>,
    limit: &Limit,
    domain: impl Fn(&J) -> Option<&str> + Send + Sync + 'static,
) -> Result<Registry<Env>, LimitedError> {
    Ok(registry.limit(limit.clone(), move |mail: &J| domain(mail).map(|domain| key_of(domain).to_owned()))?)
}

/// Of a domain that is longer than a key may be, the end, which tells owners apart. Domains of mails are ASCII.
fn key_of(domain: &str) -> &str {
    domain.get(domain.len().saturating_sub(KEY_BYTES_MAX)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::registry;

    #[test]
    fn limits_of_the_product_fit_its_jobs() {
        let rate = Some(Rate { starts: 100, per: Duration::from_mins(1) });
        let mails = Some(PerDomain { at_once: Some(2), rate });
        let limits = JobLimits { charges: Some(5), deliveries: Some(1), mails };
        limits.apply(registry().expect("distinct kinds"), "sandbox").expect("each kind is registered");
        JobLimits::default().apply(registry().expect("distinct kinds"), "sandbox").expect("none");
        let none = JobLimits { charges: Some(0), ..JobLimits::default() };
        none.apply(registry().expect("distinct kinds"), "sandbox").expect_err("nothing would be charged");
        let none = JobLimits { mails: Some(PerDomain { at_once: None, rate: None }), ..JobLimits::default() };
        none.apply(registry().expect("distinct kinds"), "sandbox").expect_err("it limits nothing");
    }

    #[test]
    fn a_key_is_no_longer_than_a_limit_takes() {
        assert_eq!(key_of("example.com"), "example.com");
        let long = format!("{}.example", "a.".repeat(120));
        assert_eq!((key_of(&long).len(), key_of(&long).ends_with(".example")), (KEY_BYTES_MAX, true));
    }
}
