//! Cases of the dead queue: reasons, listings, redrives.

use std::{sync::Arc, time::Duration};

use super::{
    Harness,
    kit::{
        QUEUE, consume, declared, envelope, nothing_comes, publish, publish_one, retry, settle, take, until,
        until_dead,
    },
};
use crate::{
    engine::{DeadFilter, DeadReason, Engine, JobFilter, JobState, Settlement},
    envelope::{Envelope, JobId},
};

/// A dead job is found and listed with reason, error, times and attempts.
pub async fn a_dead_job_keeps_its_story(h: &impl Harness) {
    let engine = declared(h).await;
    let before = h.ambient().now();
    let id = publish_one(h, &*engine).await;
    let mut consumer = consume(&*engine, 1).await;
    let delivery = take(&mut consumer).await;
    settle(&consumer, &delivery, retry(h.ambient().now()));
    let delivery = take(&mut consumer).await;
    let error = format!("no such street{}", "!".repeat(10_000));
    settle(&consumer, &delivery, Settlement::Dead { reason: DeadReason::Exhausted, error });
    let held = until_dead(&*engine, id).await;
    let dead = held.dead.expect("dead");
    assert_eq!((held.state, dead.reason), (JobState::Dead, DeadReason::Exhausted));
    assert_eq!(held.envelope.attempt, 2, "the last run is counted too");
    assert!(before <= dead.first_failed_at && dead.first_failed_at <= dead.died_at);
    let error = held.last_error.expect("an error");
    assert!(error.starts_with("no such street") && error.len() < 5000, "kept, and bounded");
    let filter = JobFilter { state: Some(JobState::Dead), limit: 10, ..JobFilter::default() };
    let listed = h.second().await.list(&filter).await.expect("lists");
    assert_eq!(listed.iter().map(|job| job.envelope.id).collect::<Vec<_>>(), [id]);
    assert_eq!(listed[0].envelope.payload.get(), delivery.envelope.payload.get());
    nothing_comes(&mut consumer).await;
}

/// Makes one dead job per entry: kind, reason, error.
async fn bury<H: Harness>(
    h: &H,
    engine: &Arc<dyn Engine>,
    entries: &[(&str, DeadReason, &str)],
) -> Vec<JobId> {
    let mut consumer = consume(&**engine, 1).await;
    let mut ids = Vec::new();
    for (kind, reason, error) in entries {
        let job = Envelope { kind: (*kind).to_owned(), attempt: 4, ..envelope(h) };
        ids.extend(publish(&**engine, vec![job]).await);
        let delivery = take(&mut consumer).await;
        settle(&consumer, &delivery, Settlement::Dead { reason: *reason, error: (*error).to_owned() });
        until_dead(&**engine, delivery.envelope.id).await;
        // The next job is younger by the clock of ids and times.
        let now = h.ambient().now();
        until("the clock moves", || async { h.ambient().now() > now }).await;
    }
    super::kit::close(&consumer).await;
    ids
}

/// A redrive filters by kind, reason, error, age and limit, oldest first; a dry run moves nothing.
pub async fn redriving_filters_and_starts_afresh(h: &impl Harness) {
    use DeadReason::{Exhausted, UnknownKind};
    let engine = declared(h).await;
    let entries = [
        ("mail", Exhausted, "timeout"),
        ("mail", UnknownKind, "who is this"),
        ("sms", Exhausted, "timeout at 5%"),
        ("mail", Exhausted, "refused"),
    ];
    let ids = bury(h, &engine, &entries).await;
    let all =
        DeadFilter { queue: Some(QUEUE.to_owned()), limit: 100, dry_run: true, ..DeadFilter::default() };
    let dry = async |filter: DeadFilter| engine.redrive(&filter).await.expect("redrives");
    assert_eq!(dry(all.clone()).await, ids, "oldest first");
    assert_eq!(dry(DeadFilter { limit: 2, ..all.clone() }).await, ids[..2]);
    assert_eq!(dry(DeadFilter { kind: Some("sms".to_owned()), ..all.clone() }).await, ids[2..3]);
    assert_eq!(dry(DeadFilter { reason: Some(UnknownKind), ..all.clone() }).await, ids[1..2]);
    let timeouts = DeadFilter { error_contains: Some("timeout".to_owned()), ..all.clone() };
    assert_eq!(dry(timeouts).await, [ids[0], ids[2]]);
    let percent = DeadFilter { error_contains: Some("5%".to_owned()), ..all.clone() };
    assert_eq!(dry(percent).await, ids[2..3], "the text is no pattern");
    let died = engine.find(ids[3]).await.expect("find").and_then(|job| job.dead).expect("dead").died_at;
    assert_eq!(dry(DeadFilter { since: Some(died), ..all.clone() }).await, ids[3..]);
    assert!(dry(DeadFilter { queue: Some("nowhere".to_owned()), ..all.clone() }).await.is_empty());
    let mut consumer = consume(&*engine, 4).await;
    nothing_comes(&mut consumer).await;
    let wet = DeadFilter { kind: Some("mail".to_owned()), limit: 2, dry_run: false, ..all };
    assert_eq!(engine.redrive(&wet).await.expect("redrives"), ids[..2]);
    for _ in 0..2 {
        let delivery = take(&mut consumer).await;
        assert!(ids[..2].contains(&delivery.envelope.id));
        assert_eq!((delivery.envelope.attempt, delivery.crashes), (0, 0));
    }
    nothing_comes(&mut consumer).await;
}

/// One dead job can be retried by its id, with fresh attempts.
pub async fn retrying_a_dead_job_starts_afresh(h: &impl Harness) {
    let engine = declared(h).await;
    let ids = bury(h, &engine, &[("mail", DeadReason::Exhausted, "timeout")]).await;
    assert!(engine.retry_now(ids[0]).await.expect("retries"));
    let mut consumer = consume(&*engine, 1).await;
    let delivery = take(&mut consumer).await;
    assert_eq!((delivery.envelope.id, delivery.envelope.attempt), (ids[0], 0));
    assert!(engine.find(ids[0]).await.expect("find").expect("held").dead.is_none());
}

/// An undecodable message is sent to the dead queue and listed; its consumer continues.
pub async fn an_undecodable_job_becomes_a_dead_letter(h: &impl Harness) {
    let engine = declared(h).await;
    h.inject_undecodable(QUEUE, "{\"half\": an envelope").await;
    let mut consumer = consume(&*engine, 1).await;
    let id = publish_one(h, &*engine).await;
    assert_eq!(take(&mut consumer).await.envelope.id, id, "the consumer lives");
    until("it is counted", || async { engine.depth(QUEUE).await.expect("depth").dead == 1 }).await;
    let filter = JobFilter { state: Some(JobState::Dead), limit: 10, ..JobFilter::default() };
    let listed = engine.list(&filter).await.expect("lists");
    assert_eq!(listed.len(), 1);
    let (held, dead) = (&listed[0], listed[0].dead.as_ref().expect("dead"));
    assert_eq!((dead.reason, held.envelope.kind.as_str()), (DeadReason::Undecodable, ""));
    let raw: String = serde_json::from_str(held.envelope.payload.get()).expect("raw bytes as a string");
    assert!(raw.contains("an envelope"), "{raw}");
    assert!(held.last_error.as_ref().is_some_and(|error| !error.is_empty()));
    assert!(engine.find(held.envelope.id).await.expect("find").is_some(), "by the id that was listed");
    // A redriven one is sent to the dead queue again rather than lost.
    let all = DeadFilter { limit: 10, ..DeadFilter::default() };
    assert_eq!(engine.redrive(&all).await.expect("redrives").len(), 1);
    let mut rival = consume(&*engine, 1).await;
    let came = tokio::time::timeout(Duration::from_millis(100), rival.deliveries.recv()).await;
    assert!(came.is_err());
    until("it is dead again", || async { engine.depth(QUEUE).await.expect("depth").dead == 1 }).await;
}
