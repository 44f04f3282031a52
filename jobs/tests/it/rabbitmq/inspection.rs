//! Listings over a broker that can be searched for nothing: counts, and short delays by the log of attempts.

use std::time::Duration;

use orderworks_jobs::{
    Consume, Envelope, Publish, Timestamp,
    conformance::Harness,
    engine::{JobFilter, JobState, QueueSpec},
    inspection::{self, Unlisted},
    records::{AttemptOutcome, AttemptRecord, RecordStore},
    sqlite::SqliteRecords,
};

use super::{PATIENCE, QUEUE, RabbitHarness, envelope, until};
use crate::util::broker::needs_broker;

fn attempt(of: &Envelope, started_at: Timestamp, outcome: AttemptOutcome) -> AttemptRecord {
    AttemptRecord {
        job: of.id,
        kind: of.kind.clone(),
        queue: of.queue.clone(),
        subject: None,
        attempt: 1,
        worker: "w".to_owned(),
        created_at: of.created_at,
        started_at,
        duration: Duration::from_millis(5),
        outcome,
        error: Some("no paper".to_owned()),
        trace: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_delay_is_counted_and_named_by_the_log_of_attempts() {
    needs_broker!();
    let harness = RabbitHarness::start().await;
    let (engine, now) = (&harness.engine, harness.ambient.now());
    let records = SqliteRecords::open(&harness.folder.path().join("records.db")).await.expect("opens");
    engine.declare(&[QueueSpec::new(QUEUE)]).await.expect("declares");
    let minute = Envelope { run_at: Some(now + Duration::from_mins(1)), ..envelope() };
    let hour = Envelope { run_at: Some(now + Duration::from_hours(1)), ..envelope() };
    let (in_broker, in_store) = (minute.id, hour.id);
    engine.publish(vec![envelope(), minute.clone(), hour]).await.expect("publishes");
    let list = async |state| {
        let filter = JobFilter { state, limit: 10, ..JobFilter::default() };
        let listing =
            inspection::list(engine, &records, &filter, harness.ambient.now()).await.expect("lists");
        let jobs: Vec<_> = listing.jobs.iter().map(|job| job.envelope.id).collect();
        let logged: Vec<_> = listing.logged.iter().map(|last| last.job).collect();
        (jobs, logged, listing.unlisted)
    };
    let unlisted = |ready, delayed| vec![Unlisted { queue: QUEUE.to_owned(), ready, delayed }];
    until("both are counted", PATIENCE, || async { list(None).await.2 == unlisted(1, 1) }).await;
    assert_eq!(list(None).await, (vec![in_store], vec![], unlisted(1, 1)));
    assert_eq!(list(Some(JobState::Delayed)).await, (vec![in_store], vec![], unlisted(0, 1)));
    assert_eq!(list(Some(JobState::Dead)).await, (vec![], vec![], vec![]));

    let started = now + Duration::from_millis(1);
    records.append([attempt(&minute, started, AttemptOutcome::Retried)].into()).await.expect("appends");
    assert_eq!(list(Some(JobState::Delayed)).await, (vec![in_store], vec![in_broker], vec![]));
    // It has ended since: what the broker counts is another job.
    let later = started + Duration::from_millis(1);
    records.append([attempt(&minute, later, AttemptOutcome::Completed)].into()).await.expect("appends");
    assert_eq!(list(Some(JobState::Delayed)).await, (vec![in_store], vec![], unlisted(0, 1)));
}
