//! Shared state of all handlers.

use std::{net::IpAddr, ops::Deref, sync::Arc};

use axum::extract::FromRef;
use base::Ambient;
use cache::{Cache, DerivedStats, RateLimits, Sessions};
use http::request;
use jobs::records::RecordStore;
use store::{
    OrderStore, PaymentStore, StoreError, checkout::CheckoutSettings, domain::MerchantId, merchants::KeyScope,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use webhooks::HookCaller;

use crate::{
    admission::{AdmissionCounts, OrderAdmission},
    card_testing::{CardTesting, CardTestingCounts},
    catalog_cache::CatalogCache,
    checkout_choices::CheckoutChoices,
    client_ip,
    config::ApiConfig,
    health::{HealthCheck, Readiness},
    key_cache::{KeyCache, KeyUses},
    limits::Limiters,
    page_cache::PageCache,
    passwords::Passwords,
    placements::Placements,
    pricing::{HookCalls, Hooks},
    profile_cache::ProfileCache,
    slots::KeyedSlots,
    waiting_room::WaitingRooms,
};

/// The collaborators of the routes. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct ApiState(Arc<ApiShared>);

/// Content of an [`ApiState`]; opaque outside of this crate.
#[doc(hidden)]
pub struct ApiShared {
    pub(crate) config: ApiConfig,
    pub(crate) orders: Arc<dyn OrderStore>,
    pub(crate) payments: Arc<dyn PaymentStore>,
    pub(crate) records: Arc<dyn RecordStore>,
    pub(crate) ambient: Ambient,
    pub(crate) shutdown: CancellationToken,
    pub(crate) keys: KeyCache,
    pub(crate) key_uses: KeyUses,
    pub(crate) catalog: Arc<CatalogCache>,
    pub(crate) profiles: ProfileCache,
    pub(crate) pages: PageCache,
    pub(crate) checkout_choices: CheckoutChoices,
    pub(crate) hooks: Hooks,
    pub(crate) limiters: Arc<Limiters>,
    pub(crate) card_testing: Arc<CardTesting>,
    pub(crate) admission: Arc<OrderAdmission>,
    pub(crate) rooms: Arc<WaitingRooms>,
    pub(crate) sessions: Arc<dyn Sessions>,
    pub(crate) passwords: Passwords,
    pub(crate) placements: Arc<Placements>,
    pub(crate) readiness: Readiness,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) streams_by_merchant: Arc<KeyedSlots<(MerchantId, KeyScope)>>,
    pub(crate) streams_by_address: Arc<KeyedSlots<IpAddr>>,
}

/// The parts of an API that a process wires together.
pub struct ApiParts {
    /// Orders and the records kept with them.
    pub orders: Arc<dyn OrderStore>,
    pub payments: Arc<dyn PaymentStore>,
    /// Cache of reads of the catalog and of profiles.
    pub cache: Arc<dyn Cache>,
    /// Counters of rate limits over all processes, which fail while their server is away; `None` where this process
    /// counts alone.
    pub shared_limits: Option<Arc<dyn RateLimits>>,
    /// Counters of unpaid and declined orders, which never fail.
    pub card_limits: Arc<dyn RateLimits>,
    /// Sessions and carts.
    pub sessions: Arc<dyn Sessions>,
    /// Calls the hooks of merchants; its policy of addresses is that of webhooks.
    pub hooks: HookCaller,
    /// The log of job attempts, for timelines.
    pub records: Arc<dyn RecordStore>,
    pub ambient: Ambient,
    /// Checks of `/readyz` beside those of both stores, which are always made.
    pub health: Vec<HealthCheck>,
    /// Ends event streams and makes `/readyz` report not ready; the same token as given to [`crate::run`].
    pub shutdown: CancellationToken,
}

impl ApiState {
    pub fn new(parts: ApiParts, config: ApiConfig) -> Self {
        let mut checks = vec![
            HealthCheck::orders(Arc::clone(&parts.orders)),
            HealthCheck::payments(Arc::clone(&parts.payments)),
        ];
        checks.extend(parts.health);
        let readiness = Readiness::new(checks, parts.ambient.clone(), parts.shutdown.clone());
        let (orders, ambient, policies) = (&parts.orders, &parts.ambient, config.cache);
        let profiles = ProfileCache::new(Arc::clone(&parts.cache), Arc::clone(orders), &policies);
        let pages = PageCache::new(Arc::clone(&parts.cache), ambient.clone(), policies);
        let catalog = CatalogCache::new(parts.cache, Arc::clone(orders), ambient.clone(), &policies);
        let (orders, ambient) = (Arc::clone(&parts.orders), parts.ambient.clone());
        let card_testing = CardTesting::new(config.card_testing, parts.card_limits, orders, ambient);
        let (orders, ambient) = (Arc::clone(&parts.orders), parts.ambient.clone());
        let admission = Arc::new(OrderAdmission::new(config.admission, orders, ambient));
        let (orders, ambient) = (Arc::clone(&parts.orders), parts.ambient.clone());
        let rooms = WaitingRooms::new(orders, ambient, Arc::clone(&admission));
        Self(Arc::new(ApiShared {
            catalog: Arc::new(catalog),
            profiles,
            pages,
            checkout_choices: CheckoutChoices::default(),
            hooks: Hooks::new(parts.hooks),
            card_testing: Arc::new(card_testing),
            admission,
            rooms: Arc::new(rooms),
            limiters: Arc::new(Limiters::new(&config, parts.shared_limits.as_ref())),
            sessions: parts.sessions,
            passwords: Passwords::new(parts.ambient.clone()),
            placements: Arc::default(),
            streams: Arc::new(Semaphore::new(config.streams_max)),
            streams_by_merchant: KeyedSlots::new(config.streams_per_merchant_max),
            streams_by_address: KeyedSlots::new(config.streams_per_address_max),
            config,
            orders: parts.orders,
            payments: parts.payments,
            records: parts.records,
            ambient: parts.ambient,
            shutdown: parts.shutdown,
            keys: KeyCache::default(),
            key_uses: KeyUses::default(),
            readiness,
        }))
    }

    /// Requests rejected by rate limits in this process since its start, by limit.
    pub fn rate_limited(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.limiters.refused()
    }

    /// Answers of this process since its start: rendered, or sent again as they were.
    pub fn page_stats(&self) -> DerivedStats {
        self.pages.stats()
    }

    /// Orders and payments counted against card testing in this process since its start.
    pub fn card_testing(&self) -> CardTestingCounts {
        self.card_testing.counts()
    }

    /// Decisions on the admission of orders in this process since its start.
    pub fn admission(&self) -> AdmissionCounts {
        self.admission.counts()
    }

    /// Calls of merchants' hooks by this process since its start, by kind.
    pub fn hook_calls(&self) -> impl Iterator<Item = HookCalls> {
        self.hooks.counts()
    }

    /// What the merchant has chosen for its checkout.
    pub(crate) async fn checkout_settings(
        &self,
        merchant: MerchantId,
    ) -> Result<CheckoutSettings, StoreError> {
        self.checkout_choices.of(&*self.orders, merchant, self.ambient.now()).await
    }

    /// The client address that limits count this request by.
    pub(crate) fn client_ip(&self, parts: &request::Parts) -> IpAddr {
        client_ip::address(parts, &self.config.trusted_proxies)
    }
}

impl FromRef<ApiState> for Readiness {
    fn from_ref(state: &ApiState) -> Self {
        state.readiness.clone()
    }
}

impl Deref for ApiState {
    type Target = ApiShared;

    fn deref(&self) -> &ApiShared {
        &self.0
    }
}
