//! Profiles of customers who are signed in, through the cache.
//!
//! Guarantees: a profile is shown only to its customer, whose session the caller has checked; it is fresh at once, in
//! every process that the invalidation reaches, after the API deleted its account, and within
//! [`CachePolicies::customer`] after the command line did. Holds what the customer is shown and no password hash. Not
//! for decisions: orders, exports and deletions read the account from the store.

use std::sync::Arc;

use base::Timestamp;
use cache::{Cache, CacheKind, FetchError, Namespace, fetch};
use serde::{Deserialize, Serialize};
use store::{
    OrderStore, StoreError,
    domain::{CustomerId, MerchantId},
};

use crate::cache_policies::CachePolicies;

/// What customers are shown of their account, beside its id.
#[derive(Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
}

/// The order store's accounts behind a cache.
pub(crate) struct ProfileCache {
    cache: Arc<dyn Cache>,
    orders: Arc<dyn OrderStore>,
    profile: Namespace,
}

impl ProfileCache {
    pub(crate) fn new(cache: Arc<dyn Cache>, orders: Arc<dyn OrderStore>, policies: &CachePolicies) -> Self {
        let CachePolicies { customer: ttl, absent: negative_ttl, .. } = *policies;
        let profile = Namespace { name: "profile", version: 1, kind: CacheKind::Data, ttl, negative_ttl };
        Self { cache, orders, profile }
    }

    /// The profile of a merchant's customer; `None` when the merchant has no such customer.
    pub(crate) async fn profile(
        &self,
        merchant: MerchantId,
        customer: CustomerId,
    ) -> Result<Option<Profile>, FetchError> {
        let orders = Arc::clone(&self.orders);
        let load = move || async move {
            let account = orders.customer_by_id(customer).await?;
            let account = account.filter(|account| account.merchant == merchant);
            Ok::<_, StoreError>(account.map(|account| Profile {
                email: account.customer.email,
                name: account.customer.name,
                created_at: account.created_at,
            }))
        };
        fetch(&*self.cache, &self.profile, &profile_id(merchant, customer), load).await
    }

    /// Invalidates the profile of an account that may have been deleted.
    pub(crate) async fn changed(&self, merchant: MerchantId, customer: CustomerId) {
        self.cache.invalidate(&[self.profile.key(&profile_id(merchant, customer))]).await;
    }
}

fn profile_id(merchant: MerchantId, customer: CustomerId) -> String {
    format!("{merchant}:{customer}")
}
