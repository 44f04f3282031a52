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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use base::{
        Ambient,
        testing::{skip, until},
    };
    use cache::{Health, MemoryConfig, RedisCache, RedisConfig, RedisServer};
    use store::{
        customers::{Customers, PasswordHash},
        domain::VerificationId,
        merchants::Merchants,
        verifications::{NewVerification, OpenAccount, Purpose, Verification, Verifications},
    };
    use store_sqlite::SqliteOrders;

    use super::*;

    const URL: &str = "ORDERWORKS_TEST_REDIS_URL";
    /// A deletion shows in all processes within this time, as `docs/CACHE.md` promises; a profile lives for ten
    /// seconds.
    const TOLD_WITHIN: Duration = Duration::from_secs(1);

    async fn account(orders: &SqliteOrders, ambient: &Ambient) -> (MerchantId, CustomerId) {
        let (merchant, customer) = (MerchantId::fresh(ambient), CustomerId::fresh(ambient));
        let (id, token, at) = (VerificationId::fresh(ambient), [7; 32], ambient.now());
        orders.ensure_merchant(merchant, "Shop", at).await.expect("stores");
        let password_hash = PasswordHash::from_phc("$".to_owned());
        let purpose = Purpose::Registration { name: "Ada".to_owned(), password_hash };
        let verification =
            Verification { id, merchant, email: "ada@example.com".to_owned(), purpose, created_at: at };
        let new = NewVerification { verification, idempotency_key: None, trace: None };
        orders.request_verification(new).await.expect("stores");
        orders.mint_verification(merchant, id, token, at).await.expect("mints");
        let open = OpenAccount { merchant, token, customer, at, trace: None };
        orders.open_account(open).await.expect("stores").expect("opens");
        (merchant, customer)
    }

    #[tokio::test]
    async fn a_deleted_account_is_gone_from_all_processes_within_a_second() {
        let Ok(url) = std::env::var(URL) else {
            return skip(&format!("{URL} is not set; see `ops/services up redis`"));
        };
        let (ambient, folder) = (Ambient::system(), tempfile::tempdir().expect("a folder"));
        let orders = SqliteOrders::open(&folder.path().join("orders.db"), ambient.clone()).await;
        let orders = Arc::new(orders.expect("opens"));
        // The form of name that the cleanup of the cache's own tests recognises.
        let prefix = format!("ow-test-{}-{}", ambient.now().as_millisecond(), ambient.uuid().simple());
        let patience = Duration::from_secs(3);
        let config = RedisConfig {
            prefix,
            command_timeout: patience,
            connect_timeout: patience,
            ..RedisConfig::new(url.into())
        };
        let caches: [RedisCache; 4] = std::array::from_fn(|_| {
            let server = RedisServer::new(&config, ambient.clone()).expect("an address");
            RedisCache::new(server, MemoryConfig::default(), ambient.clone())
        });
        until("all hear", || async { caches.iter().all(|cache| cache.health() == Health::Up) }).await;
        let (policies, store): (_, Arc<dyn OrderStore>) = (CachePolicies::default(), orders.clone());
        let profiles = caches.map(|cache| ProfileCache::new(Arc::new(cache), Arc::clone(&store), &policies));
        let (merchant, customer) = account(&orders, &ambient).await;
        for process in &profiles {
            assert!(process.profile(merchant, customer).await.expect("reads").is_some());
        }
        assert!(orders.delete_account(merchant, customer).await.expect("deletes"));
        let kept = profiles[1].profile(merchant, customer).await.expect("reads");
        assert!(kept.is_some(), "cached, so that what follows is told and has not expired");
        profiles[0].changed(merchant, customer).await;
        let began = Instant::now();
        for process in &profiles {
            until("it is gone", || async {
                process.profile(merchant, customer).await.expect("reads").is_none()
            })
            .await;
        }
        assert!(began.elapsed() <= TOLD_WITHIN, "gone after {:?}", began.elapsed());
    }
}
