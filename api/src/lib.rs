//! The HTTP API: routes, authentication, rate limits, idempotency, problem details, OpenAPI.
//!
//! Guarantees: an accepted order is stored with all that follows from it before its `202` leaves; every query names
//! the caller's merchant; a refused request has written nothing. Never talks to the broker or to payment providers.
//!
//! Start with [`app`] and [`run`]; the routes are in `routes`, one file per resource; what clients send is read in
//! `input`, what they get is shaped in `view`. `provider_webhooks` is the one thing here that is not for merchants.

mod auth;
mod carts;
mod catalog_cache;
mod client_ip;
mod config;
mod edge;
mod health;
mod input;
mod limits;
mod order_access;
mod password_rule;
mod passwords;
mod problem;
mod provider_webhooks;
mod routes;
mod server;
mod sessions;
mod slots;
mod state;
mod view;

use std::sync::{Arc, Weak};

use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;

use catalog_cache::CatalogCache;

pub use config::{
    ApiConfig, CartLimits, CheckoutLimits, ReadLimits, ServerLimits, SessionLimits, SignInLimits,
};
pub use health::{Health, HealthCheck, HealthStatus, OrdersCheck, PaymentsCheck, Readiness};
pub use routes::openapi;
pub use server::{ApiError, run};
pub use state::{ApiParts, ApiState};

/// The whole API as one service. Must be called on a tokio runtime: quiet rate-limit keys are swept and sold products
/// forgotten by tasks, which end after the last clone of the state.
pub fn app(state: ApiState) -> Router {
    tokio::spawn(forget_sold(Arc::downgrade(&state.catalog)));
    let swept = state.downgrade();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(limits::SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            let Some(shared) = swept.upgrade() else { break };
            shared.limiters.sweep();
        }
    });
    let (router, _) = routes::all().split_for_parts();
    router
        .merge(provider_webhooks::routes(&state.config))
        .fallback(edge::route_not_found)
        .method_not_allowed_fallback(edge::method_not_allowed)
        .layer(CatchPanicLayer::custom(edge::on_panic))
        .layer(middleware::from_fn_with_state(state.clone(), edge::serve))
        .with_state(state)
}

async fn forget_sold(catalog: Weak<CatalogCache>) {
    while let Some(catalog) = catalog.upgrade() {
        // With an end, so that this task does not keep alive what it waits for.
        drop(tokio::time::timeout(limits::SWEEP_INTERVAL, catalog.forget_sold()).await);
    }
}

/// Only `/livez` and `/readyz`, for processes that serve no requests but must be watched.
pub fn health_app(readiness: Readiness) -> Router {
    let (router, _) = health::routes().split_for_parts();
    router.with_state(readiness)
}
