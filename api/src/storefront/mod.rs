//! Storefront: pages of one shop on the listener of the API, from the catalog to the order on its way.
//!
//! Guarantees: pages ask the public API alone, within the process and with the merchant's publishable key, so they can
//! do nothing that another storefront could not, and meet the same limits ([`public_api`]). They work without script,
//! load nothing from other hosts, and their policy forbids all but one style sheet and one script of this host. A form
//! of another site does nothing. No page holds a key, the number of a card, or the token of a session or an order. No
//! cache may store a page, but for pages of the catalog to visitors without cart and session ([`catalog_page`]).
//!
//! Holds no state: what belongs to a visitor is in the API's carts, sessions and orders, named by cookies. The pages
//! are no part of the API and not in its document. A guide is docs/STOREFRONT.md.

mod account;
mod account_form;
mod assets;
mod cart;
mod catalog;
mod catalog_page;
mod checkout;
mod checkout_form;
mod cookies;
mod form;
mod html;
mod lines;
mod money;
mod order;
mod own_data;
mod pages;
mod picture;
mod public_api;
mod quote;
mod registration;
mod reservation;
mod texts;
mod views;
mod visit;
mod waiting;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use self::visit::Storefront;
use crate::{
    config::StorefrontConfig,
    problem::{Kind, Problem},
    routes::entry_points,
    state::ApiState,
};

/// The pages; `api` is the whole API without them. `/` belongs to them: programs get the entry points of the API there.
pub(crate) fn routes(api: Router, config: StorefrontConfig) -> Router<ApiState> {
    let storefront = Arc::new(Storefront::new(config, api));
    Router::new()
        .route("/", get(catalog::home))
        .route("/c/{category}", get(catalog::category))
        .route("/search", get(catalog::search))
        .route("/p/{sku}", get(catalog::product))
        .route("/cart", get(cart::show).post(cart::add))
        .route("/cart/items", post(cart::change))
        .route("/checkout", get(checkout::show).post(checkout::pay))
        .route("/waiting", get(waiting::show))
        .route("/o/{order}", get(order::show))
        .route("/o/{order}/events", get(order::events))
        .route("/o/{order}/retry", post(order::retry))
        .route("/account", get(account::show))
        .route("/account/export", get(own_data::download))
        .route("/account/sessions/end", post(own_data::sign_out_everywhere))
        .route("/account/delete", get(own_data::delete_form).post(own_data::delete))
        .route("/account/register", get(registration::register_form).post(registration::register))
        .route("/account/verify", get(registration::verify_form).post(registration::verify))
        .route("/account/forgot", get(registration::forgot_form).post(registration::forgot))
        .route("/account/reset", get(registration::reset_form).post(registration::reset))
        .route("/sign-in", get(account::sign_in_form).post(account::sign_in))
        .route("/sign-out", post(account::sign_out))
        .route("/storefront/storefront.css", get(assets::styles))
        .route("/storefront/storefront.js", get(assets::script))
        .layer(from_fn(at_its_host))
        .layer(Extension(storefront))
}

/// Where the storefront has a host of its own, other hosts get the API alone.
async fn at_its_host(Extension(shop): Extension<Arc<Storefront>>, request: Request, next: Next) -> Response {
    if shop.is_at(request.headers()) {
        return next.run(request).await;
    }
    if request.uri().path() == "/" {
        return entry_points().await;
    }
    Problem::new(Kind::ROUTE_NOT_FOUND, "see /openapi.json for the routes there are").into_response()
}
