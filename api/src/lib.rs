#![doc = include_str!("../README.md")]
#![expect(missing_docs, reason = "a line that repeats a name tells nothing")]

mod admission;
mod auth;
mod cache_policies;
mod card_testing;
mod carts;
mod catalog_cache;
mod checkout_choices;
mod client_ip;
mod config;
mod cors;
mod customer_cart;
mod docs;
mod edge;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod input;
mod key_cache;
mod limits;
mod order_access;
mod own_pages;
mod page_cache;
mod password_rule;
mod passwords;
mod placements;
mod pricing;
mod problem;
mod profile_cache;
mod provider_webhooks;
mod routes;
mod server;
mod sessions;
mod slots;
mod state;
mod storefront;
mod view;
mod waiting_room;

use std::sync::{Arc, Weak};

use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use catalog_cache::CatalogCache;

pub use admission::AdmissionCounts;
pub use cache_policies::{CachePolicies, PagePolicy};
pub use card_testing::CardTestingCounts;
pub use config::{
    AdmissionLimits, ApiConfig, CardTestingLimits, CartLimits, CheckoutLimits, DocsConfig, DocsKeys,
    ReadLimits, ServerLimits, SessionLimits, SignInLimits, StorefrontConfig, WriteLimits,
};
pub use cors::Origin;
pub use edge::RecordedTrace;
pub use health::{HealthCheck, HealthStatus, Readiness};
pub use pricing::HookCalls;
pub use routes::openapi;
pub use server::{ApiError, run};
pub use state::{ApiParts, ApiState};

/// The whole API as one service. Must be called on a tokio runtime: background tasks sweep idle rate-limit entries,
/// measure the backlog, take the steps of waiting rooms, follow the payments of accepted orders and invalidate cached
/// products that were sold. They end after the last clone
/// of the state is dropped.
pub fn app(state: ApiState) -> Router {
    tokio::spawn(forget_sold(Arc::downgrade(&state.catalog)));
    tokio::spawn(card_testing::follow_payments(Arc::downgrade(&state.card_testing)));
    tokio::spawn(admission::measure(Arc::downgrade(&state.admission)));
    tokio::spawn(waiting_room::step(Arc::downgrade(&state.rooms)));
    let limiters = Arc::downgrade(&state.limiters);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(limits::SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            let Some(limiters) = limiters.upgrade() else { break };
            limiters.sweep();
        }
    });
    let config = &state.config;
    // Pages ask the API as it is without them.
    let api = served(routes::all(), config);
    let mut router = match &config.storefront {
        // It has a page at `/`, where the API has its entry points.
        Some(storefront) => {
            let pages = storefront::routes(complete(api.clone(), state.clone()), storefront.clone());
            served(routes::all_but_entry_points(), config).merge(pages)
        }
        None => api.clone(),
    };
    if let Some(docs) = &config.docs {
        router = router.merge(docs::routes(complete(api, state.clone()), docs.clone()));
    }
    complete(router.merge(waiting_room::page::routes()), state)
}

/// These routes with those that are no part of the document.
fn served(known: OpenApiRouter<ApiState>, config: &ApiConfig) -> Router<ApiState> {
    let (router, _) = known.split_for_parts();
    router.merge(provider_webhooks::routes(config))
}

/// Adds what every request meets.
fn complete(router: Router<ApiState>, state: ApiState) -> Router {
    router
        .fallback(edge::route_not_found)
        .method_not_allowed_fallback(edge::method_not_allowed)
        .layer(CatchPanicLayer::custom(edge::on_panic))
        .layer(middleware::from_fn_with_state(state.clone(), edge::serve))
        .with_state(state)
}

async fn forget_sold(catalog: Weak<CatalogCache>) {
    while let Some(catalog) = catalog.upgrade() {
        // With a timeout, so that this task does not keep the catalog alive while it waits.
        drop(tokio::time::timeout(limits::SWEEP_INTERVAL, catalog.forget_sold()).await);
    }
}

/// `/livez` and `/readyz` only, for processes without an API.
pub fn health_app(readiness: Readiness) -> Router {
    let (router, _) = health::routes().split_for_parts();
    router.with_state(readiness)
}
