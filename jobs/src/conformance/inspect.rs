//! Cases of inspection: what a process tells that neither publishes nor consumes.

use std::time::Duration;

use super::{
    Harness,
    kit::{
        QUEUE, close, consume, declared, envelope, publish, publish_one, retry, settle, take, take_many,
        until, until_empty,
    },
};
use crate::{
    engine::{Cancelled, JobFilter, JobState, Settlement},
    envelope::{Envelope, JobId},
};

/// A job that one handle runs is listed, found and counted by another, and gone from there once it is done.
pub async fn running_jobs_are_seen_by_every_handle(h: &impl Harness) {
    let engine = declared(h).await;
    let second = h.second().await;
    let mut consumer = consume(&*engine, 1).await;
    let job = Envelope { attempt: 2, subject: Some("parcel 7".to_owned()), ..envelope(h) };
    let id = publish(&*engine, vec![job]).await[0];
    let delivery = take(&mut consumer).await;
    let filter = JobFilter { state: Some(JobState::Running), limit: 10, ..JobFilter::default() };
    until("it is listed", || async { !second.list(&filter).await.expect("lists").is_empty() }).await;
    let listed = second.list(&filter).await.expect("lists");
    assert_eq!(listed.len(), 1);
    let (held, envelope) = (&listed[0], &listed[0].envelope);
    assert_eq!((envelope.id, held.state, envelope.attempt), (id, JobState::Running, 2));
    assert_eq!((envelope.kind.as_str(), envelope.subject.as_deref()), ("pack_parcel", Some("parcel 7")));
    assert_eq!(second.find(id).await.expect("finds").expect("held").state, JobState::Running);
    assert_eq!(second.depth(QUEUE).await.expect("depth").running, 1);
    settle(&consumer, &delivery, Settlement::Done);
    until("it is gone", || async { second.find(id).await.expect("finds").is_none() }).await;
    assert!(second.list(&filter).await.expect("lists").is_empty());
}

/// A consumer of one handle is listed by another until it closes.
pub async fn consumers_are_seen_by_every_handle(h: &impl Harness) {
    let engine = declared(h).await;
    let second = h.second().await;
    assert!(second.consumers().await.expect("lists").is_empty());
    let consumer = consume(&*engine, 1).await;
    until("it is listed", || async { !second.consumers().await.expect("lists").is_empty() }).await;
    let now = h.ambient().now();
    let listed = second.consumers().await.expect("lists");
    assert_eq!((listed.len(), listed[0].queue.as_str(), listed[0].name.as_str()), (1, QUEUE, "conformance"));
    assert!(listed[0].alive_until >= now);
    close(&consumer).await;
    assert!(second.consumers().await.expect("lists").is_empty(), "a close leaves no consumer behind");
}

/// A publisher whose clock is ahead does not hide the age of a backlog.
pub async fn a_clock_ahead_hides_no_backlog(h: &impl Harness) {
    let engine = declared(h).await;
    let created_at = h.ambient().now() + Duration::from_hours(1);
    publish(&*engine, vec![Envelope { created_at, ..envelope(h) }]).await;
    let mut consumer = consume(&*engine, 1).await;
    let early = take(&mut consumer).await;
    settle(&consumer, &early, Settlement::Done);
    publish(&*engine, vec![envelope(h), envelope(h)]).await;
    take(&mut consumer).await;
    until("one waits", || async { engine.depth(QUEUE).await.expect("depth").ready == 1 }).await;
    let oldest = engine.depth(QUEUE).await.expect("depth").oldest_ready_at.expect("an age");
    assert!(oldest <= h.ambient().now(), "{oldest}");
}

/// The age of a backlog is known before any consumer has come.
pub async fn the_oldest_ready_job_has_an_age_without_consumers(h: &impl Harness) {
    let before = h.ambient().now();
    let engine = declared(h).await;
    assert_eq!(engine.depth(QUEUE).await.expect("depth").oldest_ready_at, None, "nothing is ready");
    publish_one(h, &*engine).await;
    let second = h.second().await;
    until("it is counted", || async { second.depth(QUEUE).await.expect("depth").ready == 1 }).await;
    let oldest = second.depth(QUEUE).await.expect("depth").oldest_ready_at.expect("an age");
    assert!(before <= oldest && oldest <= h.ambient().now(), "{oldest}");
}

/// An unknown job cannot be cancelled, started or found while nothing waits but what can be listed, and one that has
/// ended is unknown.
pub async fn what_is_held_nowhere_is_not_found(h: &impl Harness) {
    let engine = declared(h).await;
    let second = h.second().await;
    let mut consumer = consume(&*engine, 1).await;
    let ended = publish_one(h, &*engine).await;
    let delivery = take(&mut consumer).await;
    settle(&consumer, &delivery, Settlement::Done);
    let later = Some(h.ambient().now() + Duration::from_hours(1));
    publish(&*engine, vec![Envelope { run_at: later, ..envelope(h) }]).await;
    until("it is done", || async { second.depth(QUEUE).await.expect("depth").running == 0 }).await;
    for id in [ended, JobId::fresh(h.ambient())] {
        assert_eq!(second.cancel(id, "a mistyped id").await.expect("answers"), Cancelled::NotFound);
        assert!(!second.retry_now(id).await.expect("answers"));
        assert!(second.find(id).await.expect("answers").is_none());
    }
}

/// A sample tells ready jobs with their payloads, and leaves them as they were, but for their order.
pub async fn a_sample_of_ready_jobs_counts_nothing(h: &impl Harness) {
    let engine = declared(h).await;
    let second = h.second().await;
    let mut ids = publish(&*engine, vec![envelope(h), envelope(h), envelope(h)]).await;
    until("they are ready", || async { second.depth(QUEUE).await.expect("depth").ready == 3 }).await;
    let sampled = second.sample_ready(QUEUE, 2).await.expect("samples");
    assert_eq!(sampled.len(), 2);
    for job in &sampled {
        assert!(ids.contains(&job.envelope.id) && job.state == JobState::Ready, "{job:?}");
        assert_eq!(job.envelope.payload.get(), envelope(h).payload.get());
    }
    let mut consumer = consume(&*engine, 3).await;
    let mut started = Vec::new();
    for delivery in take_many(&mut consumer, 3).await {
        assert_eq!((delivery.envelope.attempt, delivery.crashes), (0, 0));
        started.push(delivery.envelope.id);
        settle(&consumer, &delivery, Settlement::Done);
    }
    ids.sort_unstable();
    started.sort_unstable();
    assert_eq!(started, ids, "each of them once");
    until_empty(&*engine).await;
}

/// A delayed job tells when it is due, also after a retry.
pub async fn a_delayed_job_tells_when_it_is_due(h: &impl Harness) {
    let engine = declared(h).await;
    let second = h.second().await;
    let mut consumer = consume(&*engine, 1).await;
    let retried = publish_one(h, &*engine).await;
    let delivery = take(&mut consumer).await;
    let later = |hours: u64| h.ambient().now() + Duration::from_hours(hours);
    let dues = [later(2), later(3)];
    settle(&consumer, &delivery, retry(dues[0]));
    let published = publish(&*engine, vec![Envelope { run_at: Some(dues[1]), ..envelope(h) }]).await[0];
    let filter = JobFilter { state: Some(JobState::Delayed), limit: 10, ..JobFilter::default() };
    until("both are delayed", || async { second.list(&filter).await.expect("lists").len() == 2 }).await;
    for (id, due) in [(retried, dues[0]), (published, dues[1])] {
        let held = second.find(id).await.expect("finds").expect("held");
        let told = held.envelope.run_at.expect("a time");
        assert!(due <= told && told <= due + Duration::from_millis(1), "{told}, not {due}");
    }
}
