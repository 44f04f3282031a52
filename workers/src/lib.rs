#![doc = include_str!("../README.md")]
#![expect(missing_docs, reason = "a line that repeats a name tells nothing")]

pub mod counts;
pub mod ended_items;
pub mod env;
pub mod event_body;
pub mod event_counts;
pub mod golden;
pub mod housekeeping;
pub mod jobs;
pub mod limits;
pub mod mail;
pub mod mail_domain;
pub mod open_payments;
pub mod provider;
pub mod queues;
pub mod registry;
pub mod relay;
pub mod schedules;
pub mod subscriptions;
pub mod verify;
pub mod webhook_delivery;

pub use env::{Env, Parts};
pub use registry::registry;
pub use webhook_delivery::WebhookDelivery;
