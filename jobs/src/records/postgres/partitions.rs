//! The daily partitions of the attempt log: created before they are needed, dropped as a whole.
//!
//! A day is created as a table of its own and then attached, which blocks neither readers nor writers of the log;
//! `PARTITION OF` would block them all. Dropping a day blocks them for the time of unlinking a file, and gives up soon
//! when a long read is in its way: the next expiry tries again. `DETACH CONCURRENTLY` is no alternative: it cannot run
//! in a transaction, and when killed half-way it leaves a partition that has to be finalised by hand.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use base::{Timestamp, postgres::Database};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use crate::{engine::EngineError, postgres::PostgresFault, records::AttemptRecord};

/// Span of time in one partition.
pub(super) const WIDTH: Duration = Duration::from_hours(24);
const DAY_MS: i64 = 86_400_000;
/// Days created ahead: expiry may pause for so long before an insert has to create one.
const DAYS_AHEAD: i64 = 7;
/// Most days in one batch; more of them mean a broken clock.
const DAYS_PER_BATCH_MAX: usize = 32;
/// Day numbers since 1970 that fit into a partition's name.
const DAYS_NAMED: RangeInclusive<i64> = 0..=999_999;
/// Most rows counted of a dropped day. The number is for a log line, and counting reads the day.
const COUNTED_MAX: i64 = 100_000;
/// Lock under which processes create and drop partitions one after the other; creating a month of them takes a while.
const TURN: &str = "
    SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '15s';
    SELECT pg_advisory_xact_lock(7022365697954051187)";
/// Inserts queue behind a waiting drop, so the drop must not wait for long.
const DROP_SOON: &str = "SET LOCAL lock_timeout = '500ms'";

const DAYS: &str = "
    SELECT child.relname::text AS name FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = 'jobs.attempts'::regclass";

/// Whether an insert failed because its partition is missing.
pub(super) fn is_missing(error: &sqlx::Error) -> bool {
    // Reported as a check violation (23514) without a constraint name; declared checks have one.
    error
        .as_database_error()
        .is_some_and(|e| e.code().as_deref() == Some("23514") && e.constraint().is_none())
}

fn day_of(time: Timestamp) -> i64 {
    time.as_millisecond().div_euclid(DAY_MS)
}

fn name(day: i64) -> String {
    format!("attempts_{day:06}")
}

fn day_of_name(name: &str) -> Option<i64> {
    name.strip_prefix("attempts_")?.parse().ok()
}

/// Creates missing partitions from the day before `now` (clocks differ) to [`DAYS_AHEAD`] days after it.
pub(super) async fn prepare_coming_days(database: &Database, now: Timestamp) -> Result<(), sqlx::Error> {
    let today = day_of(now);
    prepare(database, &(today - 1..=today + DAYS_AHEAD).collect()).await
}

/// Creates missing partitions for the days of these records.
pub(super) async fn prepare_days_of(
    database: &Database,
    batch: &[AttemptRecord],
) -> Result<(), PostgresFault> {
    let days: BTreeSet<i64> = batch.iter().map(|record| day_of(record.started_at)).collect();
    if days.len() > DAYS_PER_BATCH_MAX || days.iter().any(|day| !DAYS_NAMED.contains(day)) {
        let refused =
            format!("attempt records of {} days in one batch, from day {:?} on", days.len(), days.first());
        return Err(PostgresFault::Refused(EngineError::Refused(refused)));
    }
    Ok(prepare(database, &days).await?)
}

/// Drops whole days, oldest first, until `limit` records are gone; returns how many were dropped.
pub(super) async fn drop_days_before(
    database: &Database,
    before: Timestamp,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let first_kept = day_of(before);
    let mut session = database.session().await?;
    let days = there(database, &mut session).await?;
    session.done().await?;
    let mut dropped = 0;
    for &day in days.range(..first_kept) {
        dropped += drop_day(database, day).await?;
        if dropped >= u64::from(limit) {
            break;
        }
    }
    Ok(dropped)
}

async fn there(database: &Database, c: &mut PgConnection) -> Result<BTreeSet<i64>, sqlx::Error> {
    let rows = database.query(DAYS).fetch_all(c).await?;
    Ok(rows.iter().filter_map(|row| day_of_name(row.get("name"))).collect())
}

async fn prepare(database: &Database, days: &BTreeSet<i64>) -> Result<(), sqlx::Error> {
    let mut tx = database.begin().await?;
    if there(database, &mut tx).await?.is_superset(days) {
        return tx.commit().await;
    }
    tx.execute(sqlx::raw_sql(TURN)).await?;
    // Read again under the lock: another process may have created some.
    for &day in days.difference(&there(database, &mut tx).await?) {
        attach(&mut tx, day).await?;
    }
    tx.commit().await
}

async fn attach(c: &mut PgConnection, day: i64) -> Result<(), sqlx::Error> {
    let (name, from, to) = (name(day), day * DAY_MS, (day + 1) * DAY_MS);
    let sql = format!(
        "CREATE TABLE jobs.{name} (LIKE jobs.attempts INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES);
         ALTER TABLE jobs.attempts ATTACH PARTITION jobs.{name} FOR VALUES FROM ({from}) TO ({to})"
    );
    c.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.map(drop)
}

async fn drop_day(database: &Database, day: i64) -> Result<u64, sqlx::Error> {
    let name = name(day);
    let mut tx = database.begin().await?;
    tx.execute(sqlx::raw_sql(TURN)).await?;
    let there = database.query("SELECT to_regclass($1) IS NOT NULL").bind(format!("jobs.{name}"));
    if !there.fetch_one(&mut *tx).await?.get::<bool, _>(0) {
        return Ok(0);
    }
    let count = format!("SELECT count(*) FROM (SELECT FROM jobs.{name} LIMIT {COUNTED_MAX}) AS counted");
    let count = database.query(AssertSqlSafe(count)).fetch_one(&mut *tx).await?.get::<i64, _>(0);
    tx.execute(sqlx::raw_sql(DROP_SOON)).await?;
    tx.execute(sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE jobs.{name}")))).await?;
    tx.commit().await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
