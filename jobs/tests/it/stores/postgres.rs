//! PostgreSQL: both suites, again as behind `PgBouncer` where that changes the statements, and features of a server:
//! migrations and partitions.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::{
    Ambient,
    postgres::{PostgresConfig, connect},
    testing::scratch::{self, Scratch},
};
use orderworks_jobs::{
    JobId,
    conformance::{job_store::StoreHarness, records::RecordHarness},
    engine::{HolderState, KeyHolder},
    job_store::{JobStore, KeyRequest, PostgresJobStore, Reservation, UniqueKeys as _},
    records::{AttemptOutcome, AttemptRecord, PostgresRecords, RecordFilter, RecordStore},
};
use sqlx::Executor as _;

struct Server<const BOUNCER: bool> {
    scratch: Scratch,
    store: PostgresJobStore,
    records: PostgresRecords,
}

impl<const BOUNCER: bool> Server<BOUNCER> {
    async fn create() -> Self {
        let scratch = Scratch::create().await;
        orderworks_jobs::postgres::migrate(&scratch.config()).await.expect("migrates");
        let (store, records) = Self::open(&scratch).await;
        Self { scratch, store, records }
    }

    async fn open(scratch: &Scratch) -> (PostgresJobStore, PostgresRecords) {
        let config = PostgresConfig { pgbouncer: BOUNCER, ..scratch.config() };
        let database = connect(&config).await.expect("connects");
        let records = PostgresRecords::new(database.clone(), Ambient::system()).await.expect("opens");
        (PostgresJobStore::new(database, Ambient::system()), records)
    }
}

#[async_trait]
impl<const BOUNCER: bool> StoreHarness for Server<BOUNCER> {
    fn skipped() -> Option<String> {
        scratch::skipped()
    }

    async fn start() -> Self {
        Self::create().await
    }

    fn store(&self) -> Arc<dyn JobStore> {
        Arc::new(self.store.clone())
    }

    async fn second(&self) -> Arc<dyn JobStore> {
        Arc::new(Self::open(&self.scratch).await.0)
    }

    async fn break_schema(&self) {
        let rename = "ALTER TABLE jobs.scheduled RENAME COLUMN due_at TO due";
        self.scratch.pool().await.execute(rename).await.expect("renames");
    }

    async fn spoil_scheduled(&self) {
        let spoil = "UPDATE jobs.scheduled SET envelope = '{'";
        self.scratch.pool().await.execute(spoil).await.expect("spoils");
    }

    async fn fill_cancels(&self) {
        let fill = "
            INSERT INTO jobs.cancel_requests (job, reason, requested_at)
            SELECT gen_random_uuid(), 'many', 1780000000000 FROM generate_series(1, 9999)";
        self.scratch.pool().await.execute(fill).await.expect("fills");
    }
}

#[async_trait]
impl<const BOUNCER: bool> RecordHarness for Server<BOUNCER> {
    fn skipped() -> Option<String> {
        scratch::skipped()
    }

    async fn start() -> Self {
        Self::create().await
    }

    fn records(&self) -> Arc<dyn RecordStore> {
        Arc::new(self.records.clone())
    }

    async fn second(&self) -> Arc<dyn RecordStore> {
        Arc::new(Self::open(&self.scratch).await.1)
    }

    async fn break_schema(&self) {
        let revoke = "ALTER TABLE jobs.attempts RENAME COLUMN worker TO by_worker";
        self.scratch.pool().await.execute(revoke).await.expect("renames");
    }
}

mod job_store {
    type Server = super::Server<false>;

    orderworks_jobs::job_store_conformance_tests!(Server);
}

/// One case for each way of running a statement; the others would add nothing.
mod job_store_by_bouncer {
    type Server = super::Server<true>;

    orderworks_jobs::job_store_conformance_tests! { @cases Server;
        claims: processes_never_share_a_claim, publishing_deletes_under_its_claim_alone;
        control: a_job_elsewhere_gets_a_request, requests_expire;
        keys: a_key_has_one_holder;
        limits: slots_are_shared_by_holders, parked_jobs_leave_in_order;
        notes: the_last_note_of_a_consumer_counts;
        reports: an_earlier_run_never_replaces_a_later_one, old_reports_expire_in_slices;
        schedule: attempts_never_go_back, listing_pages_and_filters, a_purge_takes_jobs_and_keys_of_its_queue;
        schedules: synchronising_is_additive, a_step_is_made_once_and_by_the_leader;
    }
}

mod records {
    type Server = super::Server<false>;

    orderworks_jobs::record_conformance_tests!(Server);
}

mod records_by_bouncer {
    type Server = super::Server<true>;

    orderworks_jobs::record_conformance_tests! { @cases Server;
        every_filter_filters, records_of_any_day_are_kept, expiry_takes_the_old_and_leaves_the_new;
    }
}

/// Ends the test with a printed reason when no server is configured.
macro_rules! needs_server {
    () => {
        if let Some(why) = scratch::skipped() {
            orderworks_jobs::conformance::skip(&why);
            return;
        }
    };
}

#[tokio::test]
async fn asking_for_a_held_key_waits_for_no_lock() {
    needs_server!();
    let server = Server::<false>::create().await;
    let ambient = Ambient::system();
    let [holder, other] = [JobId::fresh(&ambient), JobId::fresh(&ambient)];
    let asks = |job| {
        let (key, queue) = ("k".to_owned(), "q".to_owned());
        let request = KeyRequest { key, queue, job, kept: false, period_end: None };
        server.store.reserve(vec![request], ambient.now())
    };
    assert_eq!(asks(holder).await.expect("reserves"), [Reservation::Reserved]);
    let mut releasing = server.scratch.pool().await.begin().await.expect("begins");
    let lock = "SELECT key FROM jobs.unique_keys FOR UPDATE";
    sqlx::query(lock).fetch_one(&mut *releasing).await.expect("locks the row");
    let held = KeyHolder { id: holder, state: HolderState::Active };
    assert_eq!(asks(other).await.expect("answers"), [Reservation::Held(held)]);
    assert_eq!(asks(holder).await.expect("answers"), [Reservation::Reserved]);
}

/// The server breaks a deadlock after a second, and retries would hide it: so the server's deadlock counter is checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_for_the_same_keys_ends_in_no_deadlock() {
    needs_server!();
    let server = Server::<false>::create().await;
    for _ in 0..8 {
        orderworks_jobs::conformance::job_store::keys::processes_that_reserve_and_release_never_fail(&server)
            .await;
    }
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let deadlocks: i64 =
        sqlx::query_scalar(sql).fetch_one(&server.scratch.pool().await).await.expect("counts");
    assert_eq!(deadlocks, 0);
}

async fn partitions(scratch: &Scratch) -> i64 {
    let count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'jobs.attempts'::regclass";
    sqlx::query_scalar(count).fetch_one(&scratch.pool().await).await.expect("counts")
}

#[tokio::test]
async fn a_step_back_and_a_step_forward_leave_a_working_schema() {
    needs_server!();
    let scratch = Scratch::create().await;
    orderworks_jobs::postgres::migrate(&scratch.config()).await.expect("migrates");
    let database = connect(&scratch.config()).await.expect("connects");
    let pool = scratch.pool().await;
    let mut migrations = orderworks_jobs::postgres::migrations();
    migrations.dangerous_set_table_name("jobs.migrations");
    migrations.undo(&pool, 0).await.expect("goes back");
    let left =
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'jobs'::regnamespace AND relname <> 'migrations'
                AND relname <> 'migrations_pkey'";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&pool).await.expect("counts");
    assert_eq!(left, 0, "something of the schema stays");
    orderworks_jobs::postgres::migrate(&scratch.config()).await.expect("migrates again");
    PostgresRecords::new(database, Ambient::system()).await.expect("opens");
}

#[tokio::test]
async fn the_coming_days_are_made_by_many_at_once_and_expired_ones_dropped_whole() {
    needs_server!();
    let server = Server::<false>::create().await;
    let made = partitions(&server.scratch).await;
    assert_eq!(made, 9, "yesterday, today and a week");
    let opened = (0..4).map(|_| Server::<false>::open(&server.scratch));
    futures::future::join_all(opened).await;
    assert_eq!(partitions(&server.scratch).await, made);
    let ambient = Ambient::system();
    let records: Vec<AttemptRecord> = (0..500).map(|n| old_record(&ambient, n)).collect();
    server.records.append(records.into()).await.expect("appends");
    assert_eq!(partitions(&server.scratch).await, made + 1);
    let before = ambient.now() - Duration::from_hours(24 * 10);
    assert_eq!(server.records.expire(before, 10).await.expect("expires"), 500, "the day goes as a whole");
    assert_eq!(server.records.expire(before, 10).await.expect("expires"), 0);
    assert_eq!(partitions(&server.scratch).await, made);
}

/// A rolling update migrates while processes of the release before it hold prepared statements.
#[tokio::test]
async fn a_column_added_meanwhile_breaks_no_listing() {
    needs_server!();
    let server = Server::<false>::create().await;
    server.records.append([old_record(&Ambient::system(), 1)].into()).await.expect("appends");
    let all = RecordFilter { limit: 10, ..RecordFilter::default() };
    // As often as the pool has connections, so that each has prepared the statement.
    for _ in 0..8 {
        server.records.list(&all).await.expect("lists");
    }
    let add = "ALTER TABLE jobs.attempts ADD COLUMN extra text";
    sqlx::query(add).execute(&server.scratch.pool().await).await.expect("adds");
    assert_eq!(server.records.list(&all).await.expect("lists").len(), 1);
}

fn old_record(ambient: &Ambient, n: u32) -> AttemptRecord {
    let at = ambient.now() - Duration::from_hours(24 * 30);
    AttemptRecord {
        job: JobId::fresh(ambient),
        kind: "pack_parcel".to_owned(),
        queue: "parcels".to_owned(),
        subject: None,
        attempt: n,
        worker: "w".to_owned(),
        created_at: at,
        started_at: at,
        duration: Duration::ZERO,
        outcome: AttemptOutcome::Completed,
        error: None,
        trace: None,
    }
}

#[tokio::test]
async fn a_reader_that_holds_on_delays_expiry_only() {
    needs_server!();
    let server = Server::<false>::create().await;
    let ambient = Ambient::system();
    server.records.append([old_record(&ambient, 1)].into()).await.expect("appends");
    let database = connect(&server.scratch.config()).await.expect("connects");
    let mut reader = database.begin().await.expect("begins");
    database.query("SELECT count(*) FROM jobs.attempts").fetch_one(&mut *reader).await.expect("reads");
    let before = ambient.now() - Duration::from_hours(24 * 10);
    server.records.expire(before, 10).await.expect_err("cannot drop what is read");
    server.records.append([old_record(&ambient, 2)].into()).await.expect("writes go on");
    drop(reader);
    assert_eq!(server.records.expire(before, 10).await.expect("expires"), 2);
}

#[tokio::test]
async fn a_batch_spread_over_months_is_refused_whole() {
    needs_server!();
    let server = Server::<false>::create().await;
    let ambient = Ambient::system();
    let spread = |n: u32| AttemptRecord {
        started_at: ambient.now() - Duration::from_hours(24) * n,
        ..old_record(&ambient, n)
    };
    server.records.append((0..60).map(spread).collect()).await.expect_err("refuses");
    let nothing = server.records.list(&RecordFilter { limit: 10, ..RecordFilter::default() }).await;
    assert!(nothing.expect("lists").is_empty());
}
