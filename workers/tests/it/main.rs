//! Jobs, relay, provider, mail and webhooks against real parts: SQLite files, HTTP and SMTP over loopback.

mod charge;
mod flow;
mod golden;
mod mail;
mod refund;
mod relay;
mod sandbox;
mod smtp;
mod util;
mod webhook;
