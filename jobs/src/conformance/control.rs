//! Cases of operator actions on queues and jobs.

use std::time::Duration;

use super::{
    Harness,
    kit::{
        QUEUE, answers, close, consume, declared, envelope, not_unique, nothing_comes, publish, publish_one,
        retry, settle, take, until, until_empty,
    },
};
use crate::{
    engine::{Cancelled, DeadReason, EngineError, Interrupt, JobFilter, JobState, Published, Settlement},
    envelope::{Envelope, JobId},
};

/// Ready and delayed jobs can be cancelled, unknown ones cannot.
pub async fn cancelled_before_its_time_never_runs(h: &impl Harness) {
    let engine = declared(h).await;
    let later = Some(h.ambient().now() + Duration::from_hours(1));
    let ready = publish_one(h, &*engine).await;
    let delayed = publish(&*engine, vec![Envelope { run_at: later, ..envelope(h) }]).await[0];
    let found = engine.cancel(ready, "changed our mind").await.expect("cancels");
    if engine.capabilities().cancels_ready {
        assert_eq!(found, Cancelled::Removed);
    } else {
        assert_eq!(found, Cancelled::Requested);
    }
    assert_eq!(engine.cancel(delayed, "changed our mind").await.expect("cancels"), Cancelled::Removed);
    let unknown = JobId::fresh(h.ambient());
    // An engine that cannot search its ready jobs has to assume that this one is among them.
    let of_unknown =
        if engine.capabilities().lists_ready { Cancelled::NotFound } else { Cancelled::Requested };
    assert_eq!(engine.cancel(unknown, "who?").await.expect("cancels"), of_unknown);
    let mut consumer = consume(&*engine, 2).await;
    nothing_comes(&mut consumer).await;
    until_empty(&*engine).await;
}

/// A cancel request of either handle reaches the running job; a retry after it is final.
pub async fn cancelling_a_running_job_fires_its_signal(h: &impl Harness) {
    let engine = declared(h).await;
    let second = h.second().await;
    let mut consumer = consume(&*engine, 1).await;
    for handle in [&engine, &second] {
        let id = publish_one(h, &*engine).await;
        let delivery = take(&mut consumer).await;
        assert_eq!(handle.cancel(id, "changed our mind").await.expect("cancels"), Cancelled::Requested);
        let fired = tokio::time::timeout(Duration::from_secs(15), delivery.signal.fired()).await;
        assert_eq!(fired.expect("fires"), Interrupt::Cancelled);
        settle(&consumer, &delivery, retry(h.ambient().now()));
        until("the cancelled job is gone", || async { engine.find(id).await.expect("find").is_none() }).await;
        nothing_comes(&mut consumer).await;
    }
    assert_eq!(consumer.settler.health().stale_settlements, 0);
}

/// A pause stops the consumers of all handles, is visible in both, and ends with resume.
pub async fn a_pause_holds_in_every_handle(h: &impl Harness) {
    let engine = declared(h).await;
    engine.pause(QUEUE).await.expect("pauses");
    let second = h.second().await;
    assert!(second.depth(QUEUE).await.expect("depth").paused);
    let id = publish_one(h, &*engine).await;
    let mut consumer = consume(&*second, 1).await;
    nothing_comes(&mut consumer).await;
    engine.resume(QUEUE).await.expect("resumes");
    assert_eq!(take(&mut consumer).await.envelope.id, id);
    assert!(!second.depth(QUEUE).await.expect("depth").paused);
    assert!(matches!(engine.pause("nowhere").await, Err(EngineError::NoSuchQueue(_))));
}

/// A job that runs when its queue is paused ends as it would have; its retry waits for the end of the pause.
pub async fn a_job_under_way_at_a_pause_ends_and_its_retry_waits(h: &impl Harness) {
    let engine = declared(h).await;
    publish(&*engine, vec![envelope(h), envelope(h)]).await;
    let mut consumer = consume(&*engine, 2).await;
    let (done, failed) = (take(&mut consumer).await, take(&mut consumer).await);
    engine.pause(QUEUE).await.expect("pauses");
    assert_eq!((done.signal.interrupt(), failed.signal.interrupt()), (None, None));
    settle(&consumer, &done, Settlement::Done);
    settle(&consumer, &failed, retry(h.ambient().now()));
    nothing_comes(&mut consumer).await;
    engine.resume(QUEUE).await.expect("resumes");
    let again = take(&mut consumer).await;
    assert_eq!((again.envelope.id, again.envelope.attempt), (failed.envelope.id, 1));
    nothing_comes(&mut consumer).await;
}

/// A purge deletes ready and delayed jobs, neither running nor dead ones.
pub async fn purging_drops_what_waits(h: &impl Harness) {
    let engine = declared(h).await;
    let mut consumer = consume(&*engine, 2).await;
    publish_one(h, &*engine).await;
    let dying = take(&mut consumer).await;
    let dead = Settlement::Dead { reason: DeadReason::UnknownKind, error: "what is this".to_owned() };
    settle(&consumer, &dying, dead);
    publish_one(h, &*engine).await;
    let running = take(&mut consumer).await;
    engine.pause(QUEUE).await.expect("pauses");
    let later = Some(h.ambient().now() + Duration::from_hours(1));
    let waiting = (0..1500).map(|n| Envelope { run_at: later.filter(|_| n % 3 == 0), ..envelope(h) });
    publish(&*engine, waiting.collect()).await;
    assert_eq!(engine.purge(QUEUE).await.expect("purges"), 1500);
    until("only the running and the dead are left", || async {
        let depth = engine.depth(QUEUE).await.expect("depth");
        (depth.ready, depth.delayed, depth.running, depth.dead) == (0, 0, 1, 1)
    })
    .await;
    engine.resume(QUEUE).await.expect("resumes");
    settle(&consumer, &running, Settlement::Done);
    close(&consumer).await;
    assert_eq!(consumer.settler.health().stale_settlements, 0);
}

/// A purge frees the unique keys of the jobs that it deletes, not those of running ones.
pub async fn a_purge_frees_the_keys_of_what_it_deletes(h: &impl Harness) {
    let engine = declared(h).await;
    let keyed = |key: &str| Envelope { unique_key: Some(key.to_owned()), ..envelope(h) };
    let running = publish(&*engine, vec![keyed("running")]).await[0];
    let mut consumer = consume(&*engine, 1).await;
    let delivery = take(&mut consumer).await;
    engine.pause(QUEUE).await.expect("pauses");
    publish(&*engine, vec![keyed("waiting")]).await;
    assert_eq!(engine.purge(QUEUE).await.expect("purges"), 1);
    let again = answers(&*engine, vec![keyed("waiting"), keyed("running")]).await;
    assert_eq!(again, [Published::Accepted, not_unique(running)]);
    settle(&consumer, &delivery, Settlement::Done);
}

/// The depth counts each state and gives the age of the oldest ready job.
pub async fn depth_counts_every_state(h: &impl Harness) {
    let engine = declared(h).await;
    let before = h.ambient().now();
    publish(&*engine, (0..3).map(|_| envelope(h)).collect()).await;
    let mut consumer = consume(&*engine, 3).await;
    let dying = take(&mut consumer).await;
    let dead = Settlement::Dead { reason: DeadReason::Exhausted, error: "no".to_owned() };
    settle(&consumer, &dying, dead);
    let (_second, _third) = (take(&mut consumer).await, take(&mut consumer).await);
    consumer.settler.stop();
    let later = Some(h.ambient().now() + Duration::from_hours(1));
    let delayed = (0..4).map(|_| Envelope { run_at: later, ..envelope(h) });
    publish(&*engine, delayed.chain((0..5).map(|_| envelope(h))).collect()).await;
    until("the numbers are right", || async {
        let depth = engine.depth(QUEUE).await.expect("depth");
        (depth.ready, depth.delayed, depth.running, depth.dead) == (5, 4, 2, 1)
    })
    .await;
    let oldest = engine.depth(QUEUE).await.expect("depth").oldest_ready_at.expect("something is ready");
    assert!(before <= oldest && oldest <= h.ambient().now(), "{oldest}");
}

/// A delayed job can be started early by an operator; a running or unknown one cannot.
pub async fn a_delayed_job_can_be_started_now(h: &impl Harness) {
    let engine = declared(h).await;
    let later = Some(h.ambient().now() + Duration::from_hours(1));
    let id = publish(&*engine, vec![Envelope { run_at: later, attempt: 2, ..envelope(h) }]).await[0];
    let mut consumer = consume(&*engine, 1).await;
    nothing_comes(&mut consumer).await;
    assert!(engine.retry_now(id).await.expect("retries"));
    assert_eq!(take(&mut consumer).await.envelope.attempt, 2, "its attempts stay counted");
    assert!(!engine.retry_now(id).await.expect("retries"), "it runs already");
    assert!(!engine.retry_now(JobId::fresh(h.ambient())).await.expect("retries"));
}

/// Listings are paged, oldest first, and filter by state and kind.
pub async fn listing_pages_and_filters(h: &impl Harness) {
    let engine = declared(h).await;
    let later = Some(h.ambient().now() + Duration::from_hours(1));
    let kinds = ["a", "b"];
    let delayed = (0..6).map(|n| Envelope { run_at: later, kind: kinds[n % 2].to_owned(), ..envelope(h) });
    let mut ids = publish(&*engine, delayed.collect()).await;
    ids.sort_unstable();
    let all = JobFilter { queue: Some(QUEUE.to_owned()), limit: 4, ..JobFilter::default() };
    let all = JobFilter { state: Some(JobState::Delayed), ..all };
    let listed = async |filter: &JobFilter| {
        let jobs = engine.list(filter).await.expect("lists");
        assert!(jobs.iter().all(|job| job.state == JobState::Delayed));
        jobs.into_iter().map(|job| job.envelope.id).collect::<Vec<_>>()
    };
    let first = listed(&all).await;
    let second = listed(&JobFilter { after: first.last().copied(), ..all.clone() }).await;
    assert_eq!([first, second].concat(), ids);
    let kind = JobFilter { kind: Some("a".to_owned()), ..all.clone() };
    assert_eq!(listed(&kind).await.len(), 3);
    if engine.capabilities().lists_ready {
        let ready = publish_one(h, &*engine).await;
        let filter = JobFilter { state: Some(JobState::Ready), ..all };
        let jobs = engine.list(&filter).await.expect("lists");
        assert_eq!(jobs.iter().map(|job| job.envelope.id).collect::<Vec<_>>(), [ready]);
    }
}
