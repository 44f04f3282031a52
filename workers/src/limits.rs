//! Limits of jobs over all worker processes: charges for an account at the provider, deliveries to an endpoint.
//!
//! Off unless set. Beside them each process has limits of its own, see [`crate::provider::guard`] and
//! [`webhooks::shares`].

use jobs::{
    limits::{Limit, LimitError},
    registry::{RegisterError, Registry},
};

use crate::{
    env::Env,
    jobs::{ChargePayment, DeliverWebhook},
};

/// Names of the limits, as `inspect limits` shows them.
const CHARGES: &str = "charges";
const DELIVERIES: &str = "deliveries";

/// Numbers of jobs at once; `None`: no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobLimits {
    /// Charges for the account at the provider.
    pub charges: Option<u32>,
    /// Deliveries to one endpoint.
    pub deliveries: Option<u32>,
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
        Ok(match self.deliveries {
            Some(most) => {
                let key = |delivery: &DeliverWebhook| Some(delivery.endpoint.to_string());
                registry.limit(Limit::concurrent(DELIVERIES, most)?, key)?
            }
            None => registry,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn limits_of_the_product_fit_its_jobs() {
        let limits = JobLimits { charges: Some(5), deliveries: Some(1) };
        limits.apply(registry().expect("distinct kinds"), "sandbox").expect("each kind is registered");
        JobLimits::default().apply(registry().expect("distinct kinds"), "sandbox").expect("none");
        let none = JobLimits { charges: Some(0), deliveries: None };
        none.apply(registry().expect("distinct kinds"), "sandbox").expect_err("nothing would be charged");
    }
}
