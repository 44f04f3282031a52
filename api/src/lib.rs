//! The HTTP API: routes, authentication, rate limits, idempotency, problem details, OpenAPI.
//!
//! Guarantees: an accepted order is stored with all that follows from it before its `202` leaves; every query names
//! the caller's merchant; a refused request has written nothing. Never talks to the broker or to payment providers.
//!
//! Start with [`app`] and [`run`]; the routes are in `routes`, one file per resource; what clients send is read in
//! `input`, what they get is shaped in `view`.

mod auth;
mod client;
mod config;
mod edge;
mod health;
mod input;
mod limits;
mod problem;
mod routes;
mod server;
mod state;
mod view;

use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;

pub use config::{ApiConfig, CheckoutLimits, ServerLimits};
pub use health::{Health, HealthCheck, HealthStatus, OrdersCheck, PaymentsCheck, Readiness};
pub use routes::openapi;
pub use server::{ApiError, run};
pub use state::{ApiParts, ApiState};

/// The whole API as one service. Must be called on a tokio runtime: quiet rate-limit keys are swept by a task, which
/// ends with the last clone of the state.
pub fn app(state: ApiState) -> Router {
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
        .fallback(edge::route_not_found)
        .method_not_allowed_fallback(edge::method_not_allowed)
        .layer(CatchPanicLayer::custom(edge::on_panic))
        .layer(middleware::from_fn_with_state(state.clone(), edge::serve))
        .with_state(state)
}

/// Only `/livez` and `/readyz`, for processes that serve no requests but must be watched.
pub fn health_app(readiness: Readiness) -> Router {
    let (router, _) = health::routes().split_for_parts();
    router.with_state(readiness)
}
