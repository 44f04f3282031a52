#![doc = include_str!("../README.md")]
#![expect(missing_docs, reason = "a line that repeats a name tells nothing")]

pub mod admission;
pub mod audit;
pub mod catalog;
pub mod checkout;
pub mod customers;
pub mod domain;
pub mod error;
pub mod event_data;
mod mails;
pub mod merchants;
mod names;
mod order_store;
pub mod order_view;
pub mod orders;
pub mod outbox;
pub mod payments;
mod refunds;
pub mod reservations;
pub mod rules;
pub mod token;
pub mod verifications;
pub mod webhooks;

pub use error::StoreError;
pub use order_store::OrderStore;
pub use payments::PaymentStore;
