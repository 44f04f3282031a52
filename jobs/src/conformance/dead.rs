//! Cases of the dead queue: reasons, listings, redrives.

use std::{sync::Arc, time::Duration};

use base::TraceContext;

use super::{
    Harness,
    kit::{
        QUEUE, answers, consume, declared, envelope, not_unique, nothing_comes, publish, publish_one, retry,
        settle, take, take_many, until, until_dead,
    },
};
use crate::{
    engine::{DeadFilter, DeadReason, Engine, EngineError, JobFilter, JobState, Settlement},
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
        let trace = Some(TraceContext::fresh(h.ambient()).with_state(["vendor=1"]));
        let job = Envelope { kind: (*kind).to_owned(), attempt: 4, trace, ..envelope(h) };
        ids.extend(publish(&**engine, vec![job]).await);
        let delivery = take(&mut consumer).await;
        settle(&consumer, &delivery, Settlement::Dead { reason: *reason, error: (*error).to_owned() });
        until_dead(&**engine, delivery.envelope.id).await;
        // The next job is younger by the clock of ids and times.
        let now = h.ambient().now();
        let later = || async { h.ambient().now().as_millisecond() > now.as_millisecond() };
        until("the clock moves", later).await;
    }
    super::kit::close(&consumer).await;
    ids
}

/// A redrive filters by kind, reason, error, time of death, page and limit, oldest first; a dry run moves nothing.
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
    assert_eq!(dry(DeadFilter { died_before: Some(died), ..all.clone() }).await, ids[..3]);
    assert_eq!(dry(DeadFilter { after: Some(ids[1]), limit: 1, ..all.clone() }).await, ids[2..3]);
    assert!(dry(DeadFilter { queue: Some("nowhere".to_owned()), ..all.clone() }).await.is_empty());
    assert_eq!(dry(DeadFilter { id: Some(ids[1]), limit: 1, ..all.clone() }).await, ids[1..2]);
    let mut consumer = consume(&*engine, 4).await;
    nothing_comes(&mut consumer).await;
    let wet = DeadFilter { kind: Some("mail".to_owned()), limit: 2, dry_run: false, ..all };
    assert_eq!(engine.redrive(&wet).await.expect("redrives"), ids[..2]);
    for _ in 0..2 {
        let delivery = take(&mut consumer).await;
        assert!(ids[..2].contains(&delivery.envelope.id));
        assert_eq!((delivery.envelope.attempt, delivery.crashes), (0, 0));
        assert!(delivery.envelope.trace.as_ref().is_some_and(TraceContext::is_link));
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
    let trace = delivery.envelope.trace.as_ref().expect("the trace of before");
    assert_eq!((trace.is_link(), trace.state()), (true, Some("vendor=1")), "a trace of its own follows");
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

/// Pages of dead jobs are complete, in every handle, and no longer than asked for.
pub async fn dead_jobs_are_listed_in_pages(h: &impl Harness) {
    const JOBS: usize = 25;
    let engine = declared(h).await;
    let mut ids = publish(&*engine, (0..JOBS).map(|_| envelope(h)).collect()).await;
    ids.sort_unstable();
    let mut consumer = consume(&*engine, JOBS).await;
    for delivery in take_many(&mut consumer, JOBS).await {
        let dead = Settlement::Dead { reason: DeadReason::Exhausted, error: "timeout".to_owned() };
        settle(&consumer, &delivery, dead);
    }
    until("all are dead", || async { engine.depth(QUEUE).await.expect("depth").dead == JOBS as u64 }).await;
    let second = h.second().await;
    let mut filter = JobFilter { state: Some(JobState::Dead), limit: 10, ..JobFilter::default() };
    let mut listed = Vec::new();
    loop {
        let page = second.list(&filter).await.expect("lists");
        assert!(page.len() <= 10, "{} jobs in a page", page.len());
        let Some(last) = page.last() else { break };
        filter.after = Some(last.envelope.id);
        listed.extend(page.iter().map(|job| job.envelope.id));
    }
    assert_eq!(listed, ids);
}

/// Dropping filters as redriving does, deletes those that died first, and is final; a dry run counts.
pub async fn dead_jobs_are_dropped_by_filter(h: &impl Harness) {
    use DeadReason::Exhausted;
    let engine = declared(h).await;
    let entries = ["mail", "sms", "mail", "mail"].map(|kind| (kind, Exhausted, "timeout"));
    let ids = bury(h, &engine, &entries).await;
    let all = DeadFilter { queue: Some(QUEUE.to_owned()), limit: 100, ..DeadFilter::default() };
    let mails = DeadFilter { kind: Some("mail".to_owned()), ..all.clone() };
    let drop = async |filter: DeadFilter| engine.drop_dead(&filter).await.expect("drops");
    let is_held = async |id| engine.find(id).await.expect("find").is_some();
    assert_eq!(drop(DeadFilter { dry_run: true, ..mails.clone() }).await, 3);
    assert_eq!(drop(DeadFilter { dry_run: true, limit: 2, ..mails.clone() }).await, 2);
    assert_eq!(engine.depth(QUEUE).await.expect("depth").dead, 4);
    let counted = async |most| engine.depth_up_to(QUEUE, most).await.expect("depth").dead;
    assert_eq!((counted(4).await, counted(u64::MAX).await), (4, 4));
    // An engine that has the number anyhow may tell it.
    assert!((2..=4).contains(&counted(2).await));
    let died = engine.find(ids[2]).await.expect("find").and_then(|job| job.dead).expect("dead").died_at;
    assert_eq!(drop(DeadFilter { died_before: Some(died), ..mails.clone() }).await, 1);
    assert!(!is_held(ids[0]).await && is_held(ids[1]).await && is_held(ids[2]).await);
    assert_eq!(drop(DeadFilter { limit: 1, ..mails }).await, 1, "the first of two");
    assert!(!is_held(ids[2]).await && is_held(ids[3]).await);
    assert_eq!(drop(DeadFilter { queue: Some("nowhere".to_owned()), ..all.clone() }).await, 0);
    assert_eq!(drop(DeadFilter { id: Some(JobId::fresh(h.ambient())), ..all.clone() }).await, 0);
    assert_eq!((drop(all.clone()).await, drop(all.clone()).await), (2, 0));
    assert_eq!(engine.depth(QUEUE).await.expect("depth").dead, 0);
    assert!(!engine.retry_now(ids[3]).await.expect("retries"));
    assert!(engine.redrive(&all).await.expect("redrives").is_empty());
    nothing_comes(&mut consume(&*engine, 1).await).await;
}

/// The unique key of a dead job is free. While another job holds it, the dead one stays dead.
pub async fn a_dead_job_frees_its_unique_key(h: &impl Harness) {
    let engine = declared(h).await;
    let unique = || Envelope { unique_key: Some("pack_parcel/p-1".to_owned()), ..envelope(h) };
    let first = publish(&*engine, vec![unique()]).await[0];
    let mut consumer = consume(&*engine, 1).await;
    let delivery = take(&mut consumer).await;
    let error = "timeout".to_owned();
    settle(&consumer, &delivery, Settlement::Dead { reason: DeadReason::Exhausted, error });
    until_dead(&*engine, first).await;
    let second = publish(&*engine, vec![unique()]).await[0];
    let all = DeadFilter { queue: Some(QUEUE.to_owned()), limit: 10, ..DeadFilter::default() };
    assert!(engine.redrive(&all).await.expect("redrives").is_empty(), "its key is taken");
    let retried = engine.retry_now(first).await;
    assert!(
        matches!(&retried, Err(EngineError::NotUnique { id, holder }) if (*id, holder.id) == (first, second)),
        "{retried:?}"
    );
    assert!(engine.find(first).await.expect("find").expect("held").dead.is_some(), "nothing is lost");
    let delivery = take(&mut consumer).await;
    assert_eq!(delivery.envelope.id, second);
    settle(&consumer, &delivery, Settlement::Done);
    until("the key is free", || async {
        engine.redrive(&all).await.expect("redrives").first() == Some(&first)
    })
    .await;
    assert_eq!(take(&mut consumer).await.envelope.id, first);
    let other = answers(&*engine, vec![unique()]).await;
    assert_eq!(other, [not_unique(first)], "a redriven job holds its key again");
}
