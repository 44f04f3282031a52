//! Cases of consumers that crash, hang, or close in order.

use std::{collections::HashSet, time::Duration};

use super::{
    Harness,
    kit::{
        QUEUE, close, consume, consume_with, declared, envelope, nothing_comes, publish, publish_one, retry,
        settle, take, take_many, until, until_dead, until_empty,
    },
};
use crate::{
    engine::{CRASHES_MAX, DeadReason, LOST_MAX, Settlement},
    envelope::JobId,
};

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

/// After more than [`CRASHES_MAX`] crashes alone the job is dead and not run again.
pub async fn a_job_that_keeps_crashing_alone_becomes_a_dead_letter(h: &impl Harness) {
    let engine = declared(h).await;
    let worn = envelope(h);
    let id = worn.id;
    if !h.publish_worn(worn.clone()).await {
        publish(&*engine, vec![worn]).await;
        for _ in 0..CRASHES_MAX {
            let mut consumer = consume(&*engine, 1).await;
            take(&mut consumer).await;
            h.crash(consumer).await;
        }
    }
    let mut consumer = consume(&*engine, 1).await;
    assert_eq!(take(&mut consumer).await.envelope.id, id, "as often as allowed is not too often");
    h.crash(consumer).await;
    // A broker tells of the crash by delivering the job again.
    let mut consumer = consume(&*engine, 1).await;
    let held = until_dead(&*engine, id).await;
    assert_eq!(held.dead.expect("dead").reason, DeadReason::Crashed);
    nothing_comes(&mut consumer).await;
}

/// Jobs that were under way whenever their process crashed are not parked for it: after some crashes each of them runs
/// alone, beside no other job, until a run of it ends.
pub async fn jobs_under_way_in_a_crash_loop_are_not_parked(h: &impl Harness) {
    let engine = declared(h).await;
    let alone = engine.capabilities().isolates_suspects;
    let crashes = CRASHES_MAX + 2;
    let jobs = crashes as usize;
    let ids = publish(&*engine, (0..jobs).map(|_| envelope(h)).collect()).await;
    for crash in 0..=crashes {
        let mut consumer = consume(&*engine, jobs).await;
        let in_flight = if alone && crash > LOST_MAX { 1 } else { jobs };
        take_many(&mut consumer, in_flight).await;
        h.crash(consumer).await;
    }
    let innocent = publish_one(h, &*engine).await;
    let mut left: HashSet<JobId> = ids.iter().copied().chain([innocent]).collect();
    let mut consumer = consume(&*engine, jobs).await;
    while !left.is_empty() {
        let delivery = take(&mut consumer).await;
        if alone && left.len() > jobs - 2 && delivery.envelope.id != innocent {
            nothing_comes(&mut consumer).await;
        }
        left.remove(&delivery.envelope.id);
        settle(&consumer, &delivery, Settlement::Done);
    }
    // A broker may hold two copies of a job that was being put aside at a crash; the second waits as the first did.
    let copies = async {
        while let Some(copy) = consumer.deliveries.recv().await {
            settle(&consumer, &copy, Settlement::Done);
        }
    };
    tokio::select! {
        // Not the running ones: the note of a crashed consumer counts until it is old.
        () = until("nothing waits", || async {
            let depth = engine.depth(QUEUE).await.expect("depth");
            depth.ready + depth.delayed == 0
        }) => {}
        () = copies => panic!("the consumer ended"),
    }
    assert_eq!(engine.depth(QUEUE).await.expect("depth").dead, 0);
}

/// A run that ends, here by a retry, clears its job of suspicion: it runs beside others again.
pub async fn a_suspect_whose_run_ends_runs_beside_others_again(h: &impl Harness) {
    let engine = declared(h).await;
    let id = publish_one(h, &*engine).await;
    for _ in 0..=LOST_MAX {
        let mut consumer = consume(&*engine, 2).await;
        take(&mut consumer).await;
        h.crash(consumer).await;
    }
    let mut consumer = consume(&*engine, 2).await;
    let suspect = take(&mut consumer).await;
    assert_eq!((suspect.envelope.id, suspect.crashes), (id, LOST_MAX + 1));
    settle(&consumer, &suspect, retry(h.ambient().now()));
    let cleared = take(&mut consumer).await;
    let other = publish_one(h, &*engine).await;
    assert_eq!(take(&mut consumer).await.envelope.id, other, "beside the one that runs");
    settle(&consumer, &cleared, Settlement::Done);
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
