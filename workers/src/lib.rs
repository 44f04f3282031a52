#![doc = include_str!("../README.md")]

pub mod env;
pub mod jobs;
pub mod mail;
pub mod provider;
pub mod registry;
pub mod relay;
pub mod subscriptions;
pub mod verify;
pub mod webhook;

mod http_client;

pub use env::{Env, Parts};
pub use registry::registry;
