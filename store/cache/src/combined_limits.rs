//! Rate limits that outlive their server: shared counters, and local ones while the server is unreachable.

use async_trait::async_trait;

use super::{Decision, LimitError, LocalLimits, Quota, RateLimits};

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

#[async_trait]
impl RateLimits for Limits {
    /// Never fails.
    async fn check(&self, key: &str, quota: &Quota) -> Result<Decision, LimitError> {
        Ok(self.shared.check(key, quota).await.unwrap_or_else(|_| self.local.decide(key, quota)))
    }
}
