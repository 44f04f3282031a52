//! Rate limits that outlive their server: shared counters, and local ones while the server is unreachable.

use async_trait::async_trait;

use super::{Claim, Lease, LimitError, LocalLimits, Quota, RateLimits, Refused};

/// Shared counters for all processes, with local ones as the fallback while the shared ones are unreachable.
///
/// The local ones count per process: with N processes up to N times the quota passes while the server is unreachable. A
/// limit that fails open would let every call pass; one that fails closed would turn an outage of the counters into an
/// outage of the shop.
pub struct Limits {
    shared: Box<dyn RateLimits>,
    local: LocalLimits,
}

impl Limits {
    /// `local` decides whenever `shared` fails.
    pub fn new(shared: impl RateLimits, local: LocalLimits) -> Self {
        Self { shared: Box::new(shared), local }
    }
}

/// No call fails.
#[async_trait]
impl RateLimits for Limits {
    async fn lease(&self, key: &str, quota: &Quota, calls: u32) -> Result<Lease, LimitError> {
        let lease = self.shared.lease(key, quota, calls).await;
        Ok(lease.unwrap_or_else(|_| self.local.grant(key, quota, calls)))
    }

    async fn take_all(&self, claims: &[Claim]) -> Result<Option<Refused>, LimitError> {
        let taken = self.shared.take_all(claims).await;
        Ok(taken.unwrap_or_else(|_| self.local.grant_all(claims)))
    }

    /// A call that was counted by the one and is given back to the other changes nothing where it was not counted.
    async fn give_back(&self, claims: &[Claim]) -> Result<(), LimitError> {
        if self.shared.give_back(claims).await.is_err() {
            self.local.return_calls(claims);
        }
        Ok(())
    }

    async fn reset(&self, key: &str) -> Result<(), LimitError> {
        self.local.forget(key);
        // While the server is away nothing is counted there, and what was counted ends by itself.
        drop(self.shared.reset(key).await);
        Ok(())
    }
}
