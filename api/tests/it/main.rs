//! The API over real HTTP with real SQLite stores.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that cannot go on fails the test; the lints spare test functions only"
)]

mod access;
mod access_matrix;
mod admission;
mod card_testing;
mod cart_reservations;
mod carts;
mod catalog;
mod checkout;
mod customer_cart;
mod customers;
mod docs;
mod edge;
mod erasure;
mod examples;
mod flood;
mod framing;
mod hooks;
mod idempotency;
mod input;
mod limits;
mod openapi;
mod order_tokens;
mod orders;
mod outage;
mod page_cache;
mod payments;
mod privacy;
mod provider_webhooks;
mod refunds;
mod requests;
mod server;
mod sessions;
mod storefront;
mod stream;
mod timeline;
mod util;
mod waiting_room;
mod webhook_endpoints;
