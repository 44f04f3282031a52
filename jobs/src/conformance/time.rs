//! Cases of delays and of the counts they change.

use std::time::Duration;

use super::{
    Harness,
    kit::{consume, declared, envelope, publish, publish_one, retry, settle, take},
};
use crate::{
    engine::{Delivery, Settlement},
    envelope::Envelope,
};

/// Delays of publish, retry and snooze are lower bounds on the engine's clock.
pub async fn no_delay_ends_early(h: &impl Harness) {
    let engine = declared(h).await;
    // A fraction of a millisecond must not be rounded down.
    let soon = || h.ambient().now() + Duration::from_micros(300_700);
    let at = soon();
    publish(&*engine, vec![Envelope { run_at: Some(at), ..envelope(h) }]).await;
    let mut consumer = consume(&*engine, 1).await;
    let on_time = |delivery: &Delivery, at| {
        let now = h.ambient().now();
        assert!(now >= at, "{} came at {now}, before {at}", delivery.envelope.id);
    };
    let delivery = take(&mut consumer).await;
    on_time(&delivery, at);
    let at = soon();
    settle(&consumer, &delivery, retry(at));
    let delivery = take(&mut consumer).await;
    on_time(&delivery, at);
    let at = soon();
    settle(&consumer, &delivery, Settlement::Snooze { at });
    let delivery = take(&mut consumer).await;
    on_time(&delivery, at);
}

/// Each retry raises the attempt by one and keeps the error; nothing else changes.
pub async fn a_retry_counts_one_attempt(h: &impl Harness) {
    let engine = declared(h).await;
    let id = publish_one(h, &*engine).await;
    let mut consumer = consume(&*engine, 1).await;
    for attempt in 0..4 {
        let delivery = take(&mut consumer).await;
        assert_eq!((delivery.envelope.id, delivery.envelope.attempt, delivery.crashes), (id, attempt, 0));
        let held = engine.find(id).await.expect("find").expect("held");
        assert_eq!(held.last_error.is_some(), attempt > 0);
        settle(&consumer, &delivery, retry(h.ambient().now()));
    }
}

/// A snooze counts no attempt.
pub async fn a_snooze_counts_nothing(h: &impl Harness) {
    counts_nothing(h, |h| Settlement::Snooze { at: h.ambient().now() }).await;
}

/// A release counts neither an attempt nor a crash.
pub async fn a_release_counts_nothing(h: &impl Harness) {
    counts_nothing(h, |_| Settlement::Release).await;
}

async fn counts_nothing<H: Harness>(h: &H, settlement: fn(&H) -> Settlement) {
    let engine = declared(h).await;
    let id = publish_one(h, &*engine).await;
    let mut consumer = consume(&*engine, 1).await;
    for _ in 0..3 {
        let delivery = take(&mut consumer).await;
        assert_eq!((delivery.envelope.id, delivery.envelope.attempt, delivery.crashes), (id, 0, 0));
        settle(&consumer, &delivery, settlement(h));
    }
}
