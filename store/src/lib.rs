#![doc = include_str!("../README.md")]

pub mod audit;
pub mod cache;
#[cfg(feature = "cassandra")]
pub mod cassandra;
pub mod catalog;
#[cfg(feature = "conformance")]
#[doc(hidden)]
#[expect(clippy::expect_used, clippy::panic, reason = "a test's code, shared by crates")]
pub mod conformance;
pub mod customers;
pub mod domain;
pub mod error;
pub mod event_data;
pub mod merchants;
pub mod order_view;
pub mod orders;
pub mod outbox;
#[cfg(feature = "postgres")]
pub mod partitions;
pub mod payments;
#[cfg(feature = "postgres")]
pub mod postgres;
mod rules;
pub mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
pub mod verifications;
pub mod webhooks;

pub use error::StoreError;
pub use orders::OrderStore;
pub use payments::PaymentStore;
