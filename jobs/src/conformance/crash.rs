//! Cases of consumers that crash, hang, or close in order.

use std::time::Duration;

use super::{
    Harness,
    kit::{
        close, consume, consume_with, declared, envelope, nothing_comes, publish, publish_one, settle, take,
        take_many, until_dead, until_empty,
    },
};
use crate::engine::{CRASHES_MAX, DeadReason, Settlement};

/// The next consumer gets the job with the crash counted; the receipt of the crashed one settles nothing.
pub async fn a_crash_delivers_again_and_voids_the_old_receipt(h: &impl Harness) {
    let engine = declared(h).await;
    let id = publish_one(h, &*engine).await;
    let mut first = consume(&*engine, 1).await;
    let old = take(&mut first).await;
    h.crash(first).await;
    let mut second = consume(&*engine, 1).await;
    let new = take(&mut second).await;
    assert_eq!((new.envelope.id, new.crashes, new.envelope.attempt), (id, 1, 0));
    assert_ne!(new.receipt, old.receipt);
    settle(&second, &old, Settlement::Done);
    close(&second).await;
    assert_eq!(second.settler.health().stale_settlements, 1);
    let mut third = consume(&*engine, 1).await;
    assert_eq!(take(&mut third).await.envelope.id, id, "the stale outcome did not end it");
}

/// After more than [`CRASHES_MAX`] crashes the job is dead and not run again.
pub async fn a_job_that_keeps_crashing_becomes_a_dead_letter(h: &impl Harness) {
    let engine = declared(h).await;
    let id = publish_one(h, &*engine).await;
    for crashes in 0..=CRASHES_MAX {
        let mut consumer = consume(&*engine, 1).await;
        assert_eq!(take(&mut consumer).await.crashes, crashes);
        h.crash(consumer).await;
    }
    let held = until_dead(&*engine, id).await;
    assert_eq!(held.dead.expect("dead").reason, DeadReason::Crashed);
    let mut consumer = consume(&*engine, 1).await;
    nothing_comes(&mut consumer).await;
}

/// While its consumer lives, a job may run for many leases and is delivered to no other consumer.
pub async fn a_job_longer_than_its_lease_runs_once(h: &impl Harness) {
    let lease = Duration::from_millis(300);
    let engine = declared(h).await;
    let id = publish_one(h, &*engine).await;
    let mut holder = consume_with(&*engine, 1, lease).await;
    let delivery = take(&mut holder).await;
    let second = h.second().await;
    let mut rival = consume_with(&*second, 1, lease).await;
    let came = tokio::time::timeout(lease * 4, rival.deliveries.recv()).await;
    assert!(came.is_err(), "given to another while its consumer lives");
    assert_eq!(delivery.signal.interrupt(), None);
    settle(&holder, &delivery, Settlement::Done);
    close(&holder).await;
    assert_eq!(holder.settler.health().stale_settlements, 0);
    assert!(engine.find(id).await.expect("find").is_none());
}

/// Unsettled jobs of a closing consumer are at once available to others, with nothing counted.
pub async fn closing_gives_back_uncharged(h: &impl Harness) {
    let engine = declared(h).await;
    let ids = publish(&*engine, (0..3).map(|_| envelope(h)).collect()).await;
    let mut leaving = consume(&*engine, 3).await;
    let done = take(&mut leaving).await;
    settle(&leaving, &done, Settlement::Done);
    close(&leaving).await;
    close(&leaving).await;
    let mut staying = consume(&*engine, 3).await;
    for delivery in take_many(&mut staying, 2).await {
        assert!(ids[1..].contains(&delivery.envelope.id));
        assert_eq!((delivery.crashes, delivery.envelope.attempt), (0, 0));
    }
    nothing_comes(&mut staying).await;
}

/// A close waits for the settlements: another handle sees them as soon as it returns.
pub async fn outcomes_handed_over_before_closing_are_durable(h: &impl Harness) {
    let engine = declared(h).await;
    publish(&*engine, (0..200).map(|_| envelope(h)).collect()).await;
    let mut consumer = consume(&*engine, 200).await;
    for delivery in take_many(&mut consumer, 200).await {
        settle(&consumer, &delivery, Settlement::Done);
    }
    close(&consumer).await;
    let mut next = consume(&*h.second().await, 10).await;
    nothing_comes(&mut next).await;
    until_empty(&*engine).await;
}
