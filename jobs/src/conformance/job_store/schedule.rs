//! Cases of scheduled jobs: storing, listing, finding, purging.

use std::time::Duration;

use base::{Ambient, TraceContext};
use serde_json::value::RawValue;

use super::{QUEUE, StoreHarness, asks_for, everything, ids, job, job_in, noon, reserve, schedule, seconds};
use crate::{
    engine::JobFilter,
    envelope::{Envelope, JobId},
    job::Priority,
    job_store::{JobStore, ScheduledJob},
    unique::Unique,
};

/// Every field reads back, the payload byte for byte.
pub async fn a_job_reads_back_whole(h: &impl StoreHarness) {
    let (store, second) = (h.store(), h.second().await);
    let payload = r#"{ "b":1.50,"a":"\u00fc \ud83d\udce6","a":[] }"#;
    let envelope = Envelope {
        priority: Priority::Critical,
        attempt: 3,
        run_at: Some(noon()),
        trace: Some(TraceContext::fresh(&Ambient::system())),
        unique_key: Some("pack_parcel:1".to_owned()),
        unique: Unique::WHILE_WAITING.within(Duration::from_hours(1)),
        concurrency_key: Some("customer 7".to_owned()),
        fair_key: Some("merchant 3".to_owned()),
        subject: Some("ord_1 'quoted\" 📦".to_owned()),
        payload: RawValue::from_string(payload.to_owned()).expect("JSON"),
        ..job().envelope
    };
    let whole = ScheduledJob {
        envelope,
        crashes: 2,
        last_error: Some("no paper ü".to_owned()),
        first_failed_at: Some(noon() - seconds(60)),
        ..job()
    };
    schedule(&*store, std::slice::from_ref(&whole)).await;
    let found = second.find(whole.envelope.id).await.expect("finds").expect("there");
    let json = |job: &ScheduledJob| serde_json::to_string(&job.envelope).expect("JSON");
    assert_eq!(json(&found), json(&whole));
    assert_eq!((found.due_at, found.crashes), (whole.due_at, 2));
    assert_eq!((found.last_error, found.first_failed_at), (whole.last_error, whole.first_failed_at));
    assert!(store.find(job().envelope.id).await.expect("finds").is_none());
}

/// A job due in 0.7 ms is not due now.
pub async fn no_part_of_a_millisecond_is_cut_off(h: &impl StoreHarness) {
    let store = h.store();
    let due_at = noon() + Duration::from_micros(700);
    let id = schedule(&*store, &[ScheduledJob { due_at, ..job() }]).await[0];
    assert!(store.claim_due(noon(), noon() + seconds(1), 1).await.expect("claims").is_empty());
    let now = noon() + Duration::from_millis(1);
    assert_eq!(ids(&store.claim_due(now, now + seconds(1), 1).await.expect("claims")), [id]);
}

/// Scheduling the same id again replaces the job.
pub async fn scheduling_again_replaces(h: &impl StoreHarness) {
    let store = h.store();
    let first = job();
    schedule(&*store, &[first.clone(), job()]).await;
    let moved = ScheduledJob { due_at: noon() + seconds(60), crashes: 1, ..first };
    schedule(&*store, std::slice::from_ref(&moved)).await;
    let found = store.find(moved.envelope.id).await.expect("finds").expect("there");
    assert_eq!((found.due_at, found.crashes), (noon() + seconds(60), 1));
    assert_eq!(store.scheduled_count(QUEUE, u64::MAX).await.expect("counts"), 2);
}

/// Of two copies of a job one stays, with the attempts used by the one that used more, due when the last one is.
pub async fn attempts_never_go_back(h: &impl StoreHarness) {
    let store = h.store();
    let first = job();
    let used = |attempt: u32, due: u64| {
        // A payload may name the same key.
        let payload = RawValue::from_string(r#"{"attempt":9}"#.to_owned()).expect("JSON");
        let envelope = Envelope { attempt, payload, ..first.envelope.clone() };
        ScheduledJob { envelope, due_at: noon() + seconds(due), ..first.clone() }
    };
    let cases: [&[(u32, u64)]; 4] = [&[(3, 30)], &[(1, 10)], &[(4, 40), (2, 20)], &[(4, 50)]];
    for (copies, wanted) in cases.into_iter().zip([(3, 30), (3, 10), (4, 20), (4, 50)]) {
        let copies: Vec<ScheduledJob> = copies.iter().map(|(attempt, due)| used(*attempt, *due)).collect();
        schedule(&*store, &copies).await;
        let found = store.find(first.envelope.id).await.expect("finds").expect("there");
        assert_eq!((found.envelope.attempt, found.due_at), (wanted.0, noon() + seconds(wanted.1)));
    }
}

/// The last of several jobs with one id counts.
pub async fn a_batch_may_name_a_job_twice(h: &impl StoreHarness) {
    let store = h.store();
    let first = job();
    let last = ScheduledJob { crashes: 5, ..first.clone() };
    schedule(&*store, &[first, job(), last.clone()]).await;
    assert_eq!(store.find(last.envelope.id).await.expect("finds").expect("there").crashes, 5);
    assert_eq!(store.scheduled_count(QUEUE, u64::MAX).await.expect("counts"), 2);
}

/// A text that a store cannot represent does not stop a job.
pub async fn no_text_is_refused(h: &impl StoreHarness) {
    let store = h.store();
    let odd = "a\0b\u{1}\u{fffd}'\\\"".to_owned();
    let envelope = Envelope { subject: Some(odd.clone()), ..job().envelope };
    let one = ScheduledJob { envelope, last_error: Some(odd.clone()), ..job() };
    let id = schedule(&*store, &[one]).await[0];
    let found = store.find(id).await.expect("finds").expect("there");
    assert_eq!(found.envelope.subject.as_ref(), Some(&odd));
    assert!(found.last_error.is_some_and(|error| error.starts_with('a')));
    reserve(&*store, vec![asks_for(&odd, QUEUE, id)], noon()).await;
    store.cancel(job().envelope.id, &odd, noon()).await.expect("cancels");
}

/// Listings are by id, paged, and filter by queue, kind or both.
pub async fn listing_pages_and_filters(h: &impl StoreHarness) {
    let store = h.store();
    let mut jobs: Vec<ScheduledJob> = (0..30).map(|n| job_in(["letters", QUEUE][n % 2])).collect();
    for job in jobs.iter_mut().step_by(3) {
        "weigh_parcel".clone_into(&mut job.envelope.kind);
    }
    schedule(&*store, &jobs).await;
    let (queue, kind) = (Some(QUEUE.to_owned()), Some("weigh_parcel".to_owned()));
    for (queue, kind) in [(None, None), (queue.clone(), None), (None, kind.clone()), (queue, kind)] {
        let fits = |job: &&ScheduledJob| {
            let queue_fits = queue.as_ref().is_none_or(|queue| *queue == job.envelope.queue);
            queue_fits && kind.as_ref().is_none_or(|kind| *kind == job.envelope.kind)
        };
        let mut wanted: Vec<JobId> = jobs.iter().filter(fits).map(|job| job.envelope.id).collect();
        wanted.sort();
        let filter = JobFilter { queue: queue.clone(), kind: kind.clone(), limit: 4, ..JobFilter::default() };
        assert_eq!(pages(&*store, filter).await, wanted);
    }
    let capped = JobFilter { limit: u32::MAX, ..JobFilter::default() };
    assert_eq!(store.scheduled(&capped).await.expect("lists").len(), 30);
}

async fn pages(store: &dyn JobStore, mut filter: JobFilter) -> Vec<JobId> {
    let mut listed = Vec::new();
    loop {
        let page = ids(&store.scheduled(&filter).await.expect("lists"));
        assert!(page.len() <= 4);
        let Some(&last) = page.last() else { return listed };
        listed.extend(page);
        filter.after = Some(last);
    }
}

/// Jobs and keys of other queues stay, as do the keys of running jobs and those reserved since.
pub async fn a_purge_takes_jobs_and_keys_of_its_queue(h: &impl StoreHarness) {
    let store = h.store();
    let mine = schedule(&*store, &[job(), job(), job()]).await;
    let others = schedule(&*store, &[job_in("letters")]).await;
    store.claim(mine[0], noon(), noon() + seconds(30)).await.expect("claims").expect("there");
    let keys = vec![asks_for("a", QUEUE, mine[0]), asks_for("b", "letters", others[0])];
    reserve(&*store, keys, noon()).await;
    let [running, later] = [job().envelope.id, job().envelope.id];
    reserve(&*store, vec![asks_for("c", QUEUE, running)], noon()).await;
    reserve(&*store, vec![asks_for("d", QUEUE, later)], noon() + seconds(1)).await;
    let purge = async || store.purge(QUEUE, noon() + seconds(1), &[running]).await.expect("purges");
    assert_eq!(purge().await, 3);
    assert_eq!(purge().await, 0);
    assert_eq!(everything(&*store).await, others);
    assert_eq!(store.scheduled_count("letters", u64::MAX).await.expect("counts"), 1);
    let new = job().envelope.id;
    let keys = [("a", QUEUE), ("b", "letters"), ("c", QUEUE), ("d", QUEUE)];
    let keys = keys.map(|(name, queue)| asks_for(name, queue, new)).to_vec();
    let holders = [None, Some(others[0]), Some(running), Some(later)];
    assert_eq!(reserve(&*store, keys, noon()).await, holders);
}

/// Empty batches do nothing, and a claim of zero jobs claims none.
pub async fn nothing_is_a_batch_too(h: &impl StoreHarness) {
    let store = h.store();
    let id = schedule(&*store, &[job()]).await[0];
    store.schedule(Vec::new()).await.expect("schedules");
    store.add_queues(&[]).await.expect("adds");
    store.unschedule(&[]).await.expect("deletes");
    store.release(&[]).await.expect("releases");
    store.forget_cancels(&[]).await.expect("forgets");
    assert!(store.reserve(Vec::new(), noon()).await.expect("reserves").is_empty());
    assert!(store.claim_due(noon(), noon() + seconds(30), 0).await.expect("claims").is_empty());
    assert_eq!(everything(&*store).await, [id]);
}
