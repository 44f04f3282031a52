//! Stripe provider: a charge is a `PaymentIntent`, created and then confirmed; a refund is a Refund.
//!
//! Guarantees: an amount that Stripe cannot take is declined (`amount`); answers are checked against the request; an
//! outcome is final at Stripe, too: an intent whose status nothing here can advance is cancelled before it counts as
//! declined, so that it cannot become money later. Holds no card data: a payment method is Stripe's token.
//!
//! # One charge per payment
//! An intent moves no money before it is confirmed, and at most once. Its id is recorded in the payment store, under
//! the attempt's fencing epoch, before it is confirmed, and only the recorded one is: so a payment has one charge,
//! whatever Stripe still knows of idempotency keys, and no clock is compared with Stripe's. An intent whose creation
//! was not answered, or not recorded, is left unconfirmed and never holds money.
//! - A lookup reads the recorded intent. An order that ended otherwise has it cancelled.
//! - Keys are those of an attempt: Stripe keeps an answer with status 500 under its key for a day, and the next attempt
//!   must get another one.
//! - A refund is looked up among its charge's refunds before every call: they are few, and no customer waits.
//!
//! Rejected alternative: create and confirm in one call and look for a lost answer by the time of its request. It
//! saves a call and a write per charge, and loses money where the clocks differ or the list is long.
//!
//! Next: `client` for the exchange, `error` for its statuses, `objects` for what Stripe answers, `intents` for the
//! contract and charges, the crate `api` for Stripe's webhooks.

mod amount;
mod client;
mod error;
mod form;
mod intents;
mod ledger;
mod objects;
mod refunds;

pub use amount::takes;
pub use client::{API_VERSION, StripeProvider};
