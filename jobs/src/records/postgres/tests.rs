//! Query plans promised by the migration for each listing, over days of records.

use base::{
    Ambient, Timestamp,
    postgres::connect,
    testing::scratch::{self, Scratch},
};

use super::{PostgresRecords, select};
use crate::{
    JobId,
    postgres::plans,
    records::{AttemptOutcome, RecordFilter},
};

/// Two whole days up to the end of today: in a nearly empty partition a sequential scan is the better plan.
const FILL: &str = "
    INSERT INTO jobs.attempts (job, attempt, started_at, kind, queue, subject, worker, created_at, duration_ns, outcome)
      SELECT gen_random_uuid(), 1, (extract(epoch FROM date_trunc('day', now(), 'UTC')) * 1000)::bigint + 86400000 - n * 2880, 'kind ' || n % 500,
        'queue ' || n % 300, 'subject ' || n, 'w', 0, 0, CASE WHEN n % 100 = 0 THEN 'dead' ELSE 'completed' END
      FROM generate_series(1, 60000) AS n";

#[tokio::test]
async fn no_listing_scans_a_large_table() {
    if let Some(why) = scratch::skipped() {
        eprintln!("skipped: {why}");
        return;
    }
    let scratch = Scratch::create().await;
    crate::postgres::migrate(&scratch.config()).await.expect("migrates");
    let database = connect(&scratch.config()).await.expect("connects");
    let ambient = Ambient::system();
    PostgresRecords::new(database.clone(), ambient.clone()).await.expect("opens");
    plans::fill(&database, FILL).await;
    let all = || RecordFilter { before: Some(Timestamp::MAX), limit: 50, ..RecordFilter::default() };
    let (now, job) = (ambient.now().as_millisecond(), JobId::fresh(&ambient));
    let some = |text: &str| Some(text.to_owned());
    // Partitions name their indexes after the columns.
    let listings = [
        (all(), format!("{now}, 50"), "_started_at_attempt_idx"),
        (RecordFilter { job: Some(job), ..all() }, format!("{now}, '{}', 0, 50", job.0), "_pkey"),
        (
            RecordFilter { subject: some("-"), ..all() },
            format!("{now}, 'subject 7', 50"),
            "_subject_started_at",
        ),
        (RecordFilter { queue: some("-"), ..all() }, format!("{now}, 'queue 1', 50"), "_queue_started_at"),
        (RecordFilter { kind: some("-"), ..all() }, format!("{now}, 'kind 1', 50"), "_kind_started_at"),
        (
            RecordFilter { outcome: Some(AttemptOutcome::Dead), ..all() },
            format!("{now}, 50"),
            "_outcome_started_at",
        ),
    ];
    for (filter, values, index) in listings {
        plans::uses_index(&database, select(&filter).sql().as_str(), &values, index).await;
    }
}
