//! Fixtures: a [`Shop`] is a whole installation in a temporary folder, with stores, sandbox provider and mailer; a
//! [`Receiver`] is a merchant's endpoint that answers as programmed; an [`SmtpSink`] is a mail server that keeps the
//! mails it takes; a [`CrashAt`] kills a run after one of its steps; a [`Front`] is a proxy that fails, or loses
//! answers, as told; a [`StripeServer`] is a stand-in for Stripe with the states that its documentation names.

mod crash;
mod front;
mod receiver;
mod shop;
mod smtp_sink;
mod stripe;

use std::{future::Future, time::Duration};

pub(crate) use crash::{CrashAt, CrashingPayments, CrashingProvider, Step};
pub(crate) use front::{Act, Front};
pub(crate) use receiver::Receiver;
pub(crate) use shop::{SECRET, TestMerchant, context, sandbox_client};
pub(crate) use smtp_sink::SmtpSink;
pub(crate) use stripe::StripeServer;

/// Bound of every wait: far above the time of anything here, far below a hung test run.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must happen soon.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Waits until a condition on stored state holds, for state that announces no changes.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    soon(what, async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !holds().await {
            tick.tick().await;
        }
    })
    .await;
}
