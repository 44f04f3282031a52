//! Query plans promised by the migrations: a statement that begins to scan a table fails here, not in production.

use base::{
    postgres::{Database, connect},
    testing::scratch::{self, Scratch},
};

use super::{control, dead, fair, keys, limits, limits_in_use, notes, order, reports, schedule};
use crate::{
    JobId, Timestamp,
    engine::{DeadFilter, JobFilter, JobState},
    postgres::plans,
};

const FILL: &str = "
    INSERT INTO jobs.scheduled (id, queue, kind, due_at, envelope)
      SELECT gen_random_uuid(), 'queue ' || n % 5, 'kind ' || n % 9, n, '{}' FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.scheduled (id, queue, kind, due_at, envelope, priority, tag)
      SELECT gen_random_uuid(), 'queue ' || n % 5, 'kind ' || n % 9, n, '{}', n % 3, n
      FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.scheduled (id, queue, kind, due_at, envelope, order_key, order_position)
      SELECT gen_random_uuid(), 'queue ' || n % 5, 'kind ' || n % 9, n, '{}', 'key ' || n % 1000, n
      FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.order_keys (queue, key, job, order_position, taken_at)
      SELECT 'queue ' || n % 5, 'key ' || n, gen_random_uuid(), n, n FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.fair_keys (queue, priority, key, next_tag, step)
      SELECT 'queue ' || n % 5, n % 3, 'key ' || n, n, 1 FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.unique_keys (key, job, queue, reserved_at, expires_at)
      SELECT 'key ' || n, gen_random_uuid(), 'queue ' || n % 5, n, CASE WHEN n % 10 = 0 THEN n END
      FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.cancel_requests (job, reason, requested_at)
      SELECT gen_random_uuid(), 'reason', n FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.consumers (session, name, queue, running, noted_at)
      SELECT n, 'name', 'queue ' || n % 1000, 1, n FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.dead_jobs (id, queue, kind, reason, died_at, first_failed_at, crashes, envelope)
      SELECT gen_random_uuid(), 'queue ' || n % 5, 'kind ' || n % 9, 'exhausted', n, n, 0, '{}'
      FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.run_reports (job, started_at, report)
      SELECT gen_random_uuid(), n, '{}' FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.limit_leases (limit_name, limit_key, holder, slots, expires_at)
      SELECT 'limit ' || n % 5, 'key ' || n, 'holder', 1, n FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.limit_blocks (limit_name, limit_key, id, starts, granted_at, ends_at, counts_until)
      SELECT 'limit ' || n % 5, 'key ' || n, n, 1, n, n, n FROM generate_series(1, 60000) AS n;
    INSERT INTO jobs.limit_parked (job, limit_name, limit_key, parked_at, ends_at)
      SELECT gen_random_uuid(), 'limit ' || n % 5, 'key ' || n % 1000, n, n FROM generate_series(1, 60000) AS n";

const ID: &str = "'00000000-0000-0000-0000-000000000000'";
const IDS: &str = "'{00000000-0000-0000-0000-000000000000,00000000-0000-0000-0000-000000000001}'";

async fn filled() -> (Scratch, Database) {
    let scratch = Scratch::create().await;
    crate::postgres::migrate(&scratch.config()).await.expect("migrates");
    let database = connect(&scratch.config()).await.expect("connects");
    plans::fill(&database, FILL).await;
    (scratch, database)
}

#[tokio::test]
async fn no_statement_scans_a_large_table() {
    if let Some(why) = scratch::skipped() {
        eprintln!("skipped: {why}");
        return;
    }
    let (_scratch, database) = filled().await;
    let statements = [
        (schedule::CLAIM_DUE, "100, 200, 1, 500", "scheduled_due"),
        (schedule::CLAIM_ONE, &format!("100, 200, 1, {ID}"), "scheduled_pkey"),
        (schedule::UNSCHEDULE, &format!("{IDS}, '{{1,2}}'"), "scheduled_pkey"),
        (schedule::FIND, ID, "scheduled_pkey"),
        (schedule::COUNT, "'queue 1', 10000", "scheduled_queue_delayed"),
        (schedule::PURGE, "'queue 1'", "scheduled_queue"),
        (fair::CLAIM_NEXT, "100000, 200000, 1, 'queue 1', 1, 64", "scheduled_fair"),
        (fair::BACKLOG, "'queue 1', 250000", "scheduled_fair"),
        (fair::WAITING_KEYS, "'queue 1', 1000, 10", "scheduled_fair"),
        (fair::FORGET_BEHIND, "'queue 1', 1, 100, 1000", "fair_keys"),
        (order::POSITIONS, IDS, "order_keys_job"),
        (order::HEAD, "'queue 1', 'key 1'", "order_keys_pkey"),
        (order::HELD, IDS, "order_keys_job"),
        (order::NEXT, "'queue 1', 'key 1'", "scheduled_line"),
        (order::HEADS_OF, IDS, "scheduled_pkey"),
        (order::KEEP_POSITIONS, IDS, "order_keys_job"),
        (dead::FIND, ID, "dead_jobs_pkey"),
        (dead::CLAIM, &format!("100, 200, 1, {IDS}"), "dead_jobs_pkey"),
        (dead::REMOVE, &format!("{IDS}, '{{1,2}}'"), "dead_jobs_pkey"),
        (dead::COUNT, "'queue 1', 10000", "dead_jobs_queue"),
        (keys::RELEASE, &format!("{IDS}, true"), "unique_keys_job"),
        (keys::KEEP_DEAD, IDS, "unique_keys_job"),
        (keys::HOLDERS, "'{key 1,key 2}'", "unique_keys_pkey"),
        (keys::RENEW, &format!("'{{key 1,key 2}}', {IDS}, 100"), "unique_keys_pkey"),
        (keys::GIVE_UP, "'{key 1,key 2}', 100", "unique_keys_pkey"),
        (keys::CONFIRM, IDS, "unique_keys_job"),
        (keys::WITHDRAW, &format!("{IDS}, 100"), "unique_keys_job"),
        (keys::EXPIRE_KEYS, "100, 10000", "unique_keys_expiry"),
        (control::CANCELS, "100", "cancel_requests_age"),
        (control::FORGET_CANCELS, IDS, "cancel_requests_pkey"),
        (control::EXPIRE_CANCELS, "100", "cancel_requests_age"),
        (notes::NOTES, "'queue 1', 100", "consumers_queue"),
        (control::EXPIRE_NOTES, "100", "consumers_age"),
        (reports::REPORTS, IDS, "run_reports_pkey"),
        (reports::EXPIRE_REPORTS, "100, 500", "run_reports_age"),
        (limits::LEASE, "'holder', '{limit 1}', '{key 1}', '{1}', '{3}', 1000", "limit_leases_pkey"),
        (
            limits::STARTS,
            "'{limit 1}', '{key 1}', '{1}', '{3}', '{1000}', '{250}', '{7}'",
            "limit_blocks_pkey",
        ),
        (limits::UNPARK, "'limit 1', 'key 1', 3", "limit_parked_line"),
        (limits_in_use::IN_USE, "'limit 1', 'key 1', 100, 1000", "limit_leases_pkey"),
        (limits_in_use::IN_USE, "'', '', 100, 1000", "limit_blocks_pkey"),
        (limits_in_use::IN_USE, "'', '', 100, 1000", "limit_parked_line"),
        (limits_in_use::IN_USE_OF, "'limit 1', '', 100, 1000", "limit_leases_pkey"),
        (limits_in_use::IN_USE_OF, "'limit 1', '', 100, 1000", "limit_blocks_pkey"),
        (limits_in_use::IN_USE_OF, "'limit 1', 'key 1', 100, 1000", "limit_parked_line"),
        (limits::EXPIRE[1], "500", "limit_blocks_expiry"),
        (limits::EXPIRE[2], "500", "limit_parked_expiry"),
    ];
    for (sql, values, index) in statements {
        plans::uses_index(&database, sql, values, index).await;
    }
    let old = DeadFilter { died_before: Some(Timestamp::UNIX_EPOCH), limit: 500, ..DeadFilter::default() };
    plans::uses_index(&database, dead::delete(&old).sql().as_str(), "100, 500", "dead_jobs_age").await;
}

/// Pages of lists, by all that they can be narrowed to. A queue does not have most of the kinds, which the planner does
/// not know.
#[tokio::test]
async fn no_page_of_a_list_passes_over_other_jobs() {
    if let Some(why) = scratch::skipped() {
        eprintln!("skipped: {why}");
        return;
    }
    let (_scratch, database) = filled().await;
    let some = || Some("-".to_owned());
    let all = JobFilter { limit: 50, ..JobFilter::default() };
    let queue = JobFilter { queue: some(), ..all.clone() };
    let kind = JobFilter { kind: some(), ..all.clone() };
    let both = JobFilter { queue: some(), ..kind.clone() };
    let after = Some(JobId(uuid::Uuid::nil()));
    let pages = [
        (&all, format!("{ID}, 50"), "pkey"),
        (&queue, format!("'queue 1', {ID}, 'queue 1', 50"), "queue"),
        (&kind, format!("'kind 1', {ID}, 'kind 1', 50"), "kind"),
        (&both, format!("'queue 1', 'kind 1', {ID}, 'kind 1', 50"), "queue_kind"),
    ];
    for (filter, values, index) in pages {
        let [scheduled, dead] = ["scheduled", "dead_jobs"].map(|table| format!(" {table}_{index} on "));
        plans::uses_index(&database, schedule::list(filter).sql().as_str(), &values, &scheduled).await;
        plans::uses_index(&database, dead::list(filter, after, 50).sql().as_str(), &values, &dead).await;
    }
    let delayed = [
        (&all, format!("{ID}, 50"), " scheduled_delayed on "),
        (&queue, format!("'queue 1', {ID}, 'queue 1', 50"), " scheduled_queue_delayed on "),
    ];
    for (filter, values, index) in delayed {
        let page = schedule::list(&JobFilter { state: Some(JobState::Delayed), ..filter.clone() });
        plans::uses_index(&database, page.sql().as_str(), &values, index).await;
    }
    let waiting = [
        (&all, format!("{ID}, 50"), " scheduled_waiting on "),
        (&queue, format!("'queue 1', {ID}, 'queue 1', 50"), " scheduled_queue_waiting on "),
    ];
    for (filter, values, index) in waiting {
        let page = schedule::list(&JobFilter { state: Some(JobState::Ready), ..filter.clone() });
        plans::uses_index(&database, page.sql().as_str(), &values, index).await;
    }
}
