//! DNS resolver that returns allowed addresses only, so that the checked address is the dialled address.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::url_policy::UrlPolicy;

#[derive(Debug, thiserror::Error)]
#[error("the name resolves to blocked addresses only")]
pub(super) struct BlockedAddress;

#[derive(Debug, thiserror::Error)]
#[error("the name does not resolve")]
pub(super) struct NotResolved(#[source] std::io::Error);

pub(super) struct GuardedResolver {
    pub(super) policy: UrlPolicy,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(NotResolved);
            // Only the log tells a failed lookup from a blocked address; merchants see one code for both.
            let found = found.inspect_err(|error| tracing::debug!(name = name.as_str(), "{error}"))?;
            let allowed: Vec<_> = found.filter(|address| policy.address_allowed(address.ip())).collect();
            if allowed.is_empty() {
                tracing::debug!(name = name.as_str(), "{BlockedAddress}");
                return Err(BlockedAddress.into());
            }
            let allowed: Addrs = Box::new(allowed.into_iter());
            Ok(allowed)
        })
    }
}
