//! Slots and starts per key, by the clock of the server.
//!
//! Calls for one key take turns by an advisory lock of the transaction: its first statement waits for it, and the
//! second one, with a snapshot and a clock of its own, sees all that the call before has done. A row per key to lock
//! would do the same, with a row to insert for each new key and one to clean up. Two keys with one hash only wait for
//! each other.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use base::{ids::Uuid, time::ceil_span_ms};
use sqlx::{Row, postgres::PgRow};

use super::{
    PostgresJobStore,
    limits_in_use::{clock_table, page_of},
};
use crate::{
    engine::EngineError,
    envelope::JobId,
    job_store::{
        GrantedStarts, LIMITS_EXPIRED_MAX, LIMITS_LISTED_MAX, LeaseWant, LeasedSlots, LimitFilter,
        LimitInUse, PARKED_COUNTED_MAX, PARKED_MAX, ParkedJob, SharedLimits, StartsWant, UnusedStarts,
        draw_claim,
        limits::{count, span, valid_for},
        row::in_use,
    },
    postgres::{PostgresFault, column, text},
};

/// The head of a statement that reads the clock.
macro_rules! clock {
    () => {
        concat!("WITH ", clock_table!())
    };
}

/// Takes the locks in the order of the array, which all calls sort alike.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) FROM unnest($1::text[]) AS name";

pub(super) const LEASE: &str = concat!(
    clock!(),
    ", wanted AS MATERIALIZED (
      SELECT * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) WITH ORDINALITY
        AS asked (limit_name, limit_key, slots, most, position)),
    others AS MATERIALIZED (
      SELECT wanted.position, coalesce(sum(held.slots), 0)::bigint AS slots
      FROM wanted LEFT JOIN jobs.limit_leases AS held
        ON held.limit_name = wanted.limit_name AND held.limit_key = wanted.limit_key
        AND held.holder <> $1::text AND held.expires_at > (SELECT ms FROM clock)
      GROUP BY wanted.position),
    granted AS MATERIALIZED (
      SELECT wanted.limit_name, wanted.limit_key, wanted.position,
        greatest(0, wanted.most - others.slots) AS room,
        least(wanted.slots, greatest(0, wanted.most - others.slots)) AS slots
      FROM wanted JOIN others ON others.position = wanted.position),
    held AS (
      INSERT INTO jobs.limit_leases (limit_name, limit_key, holder, slots, expires_at)
      SELECT limit_name, limit_key, $1::text, slots, (SELECT ms FROM clock) + $6::bigint + 1
      FROM granted WHERE slots > 0 ORDER BY limit_name, limit_key
      ON CONFLICT (limit_name, limit_key, holder)
        DO UPDATE SET slots = EXCLUDED.slots, expires_at = EXCLUDED.expires_at),
    ended AS (
      DELETE FROM jobs.limit_leases AS lease USING granted
      WHERE lease.limit_name = granted.limit_name AND lease.limit_key = granted.limit_key
        AND lease.holder = $1::text AND granted.slots = 0)
    SELECT slots, room - slots AS free, EXISTS (
      SELECT 1 FROM jobs.limit_parked AS parked WHERE parked.limit_name = granted.limit_name
        AND parked.limit_key = granted.limit_key AND parked.ends_at > (SELECT ms FROM clock)) AS parked
    FROM granted ORDER BY position"
);

pub(super) const STARTS: &str = concat!(
    clock!(),
    ", wanted AS MATERIALIZED (
      SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
        WITH ORDINALITY AS asked (limit_name, limit_key, starts, most, per, valid, id, position)),
    counted AS MATERIALIZED (
      SELECT wanted.position, coalesce(sum(block.starts), 0)::bigint AS starts, min(block.counts_until) AS first_end
      FROM wanted LEFT JOIN jobs.limit_blocks AS block
        ON block.limit_name = wanted.limit_name AND block.limit_key = wanted.limit_key
        AND block.counts_until > (SELECT ms FROM clock)
      GROUP BY wanted.position),
    granted AS MATERIALIZED (
      SELECT wanted.limit_name, wanted.limit_key, wanted.per, wanted.valid, wanted.id, wanted.position,
        counted.first_end, greatest(0, wanted.most - counted.starts) AS room,
        least(wanted.starts, greatest(0, wanted.most - counted.starts)) AS starts
      FROM wanted JOIN counted ON counted.position = wanted.position),
    made AS (
      INSERT INTO jobs.limit_blocks (limit_name, limit_key, id, starts, granted_at, ends_at, counts_until)
      SELECT limit_name, limit_key, id, starts, ms, ms + valid + 1, ms + valid + 1 + per
      FROM granted, clock WHERE starts > 0)
    SELECT starts, room - starts AS free, coalesce(first_end - (SELECT ms FROM clock), 0) AS free_in, EXISTS (
      SELECT 1 FROM jobs.limit_parked AS parked WHERE parked.limit_name = granted.limit_name
        AND parked.limit_key = granted.limit_key AND parked.ends_at > (SELECT ms FROM clock)) AS parked
    FROM granted ORDER BY position"
);

const RETURN: &str = concat!(
    clock!(),
    ", unused AS MATERIALIZED (
      SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
        AS returned (limit_name, limit_key, id, used)),
    ended AS (
      DELETE FROM jobs.limit_blocks AS block USING unused
      WHERE block.limit_name = unused.limit_name AND block.limit_key = unused.limit_key AND block.id = unused.id
        AND unused.used = 0)
    UPDATE jobs.limit_blocks AS block SET starts = unused.used,
      counts_until = block.counts_until - (block.ends_at - least(block.ends_at, clock.ms + 1)),
      ends_at = least(block.ends_at, clock.ms + 1)
    FROM unused, clock
    WHERE block.limit_name = unused.limit_name AND block.limit_key = unused.limit_key AND block.id = unused.id
      AND unused.used > 0 AND block.starts >= unused.used"
);

/// Sorted by job, so that two calls lock rows in one order.
const PARK: &str = concat!(
    clock!(),
    ", wanted AS MATERIALIZED (
      SELECT *, row_number() OVER (PARTITION BY limit_name, limit_key ORDER BY job) AS place
      FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[]) AS asked (job, limit_name, limit_key, comes_in)),
    line AS MATERIALIZED (
      SELECT limit_name, limit_key, (SELECT count(*) FROM (
        SELECT 1 FROM jobs.limit_parked AS parked WHERE parked.limit_name = wanted.limit_name
          AND parked.limit_key = wanted.limit_key LIMIT $5::bigint) AS rows) AS length
      FROM wanted GROUP BY limit_name, limit_key)
    INSERT INTO jobs.limit_parked (job, limit_name, limit_key, parked_at, ends_at)
    SELECT wanted.job, wanted.limit_name, wanted.limit_key, clock.ms, clock.ms + wanted.comes_in
    FROM wanted JOIN line ON line.limit_name = wanted.limit_name AND line.limit_key = wanted.limit_key, clock
    WHERE line.length + wanted.place <= $5::bigint ORDER BY wanted.job
    ON CONFLICT (job) DO UPDATE SET limit_name = EXCLUDED.limit_name, limit_key = EXCLUDED.limit_key,
      parked_at = EXCLUDED.parked_at, ends_at = EXCLUDED.ends_at"
);

/// Skips locked rows: another process takes them at this moment.
pub(super) const UNPARK: &str = concat!(
    clock!(),
    ", taken AS (
      DELETE FROM jobs.limit_parked WHERE job = ANY(ARRAY(
        SELECT job FROM jobs.limit_parked
        WHERE limit_name = $1 AND limit_key = $2 AND ends_at > (SELECT ms FROM clock)
        ORDER BY parked_at, job LIMIT $3 FOR UPDATE SKIP LOCKED))
      RETURNING job, parked_at)
    SELECT job FROM taken ORDER BY parked_at, job"
);

/// Of leases, blocks and parked jobs. Skips locked rows, which are in use; those that it has locked
/// stay where they lie, so that their place is their key.
pub(super) const EXPIRE: [&str; 3] = [
    concat!(
        clock!(),
        " DELETE FROM jobs.limit_leases WHERE ctid = ANY(ARRAY(
          SELECT ctid FROM jobs.limit_leases WHERE expires_at <= (SELECT ms FROM clock) LIMIT $1
          FOR UPDATE SKIP LOCKED))"
    ),
    concat!(
        clock!(),
        " DELETE FROM jobs.limit_blocks WHERE ctid = ANY(ARRAY(
          SELECT ctid FROM jobs.limit_blocks WHERE counts_until <= (SELECT ms FROM clock)
          ORDER BY counts_until LIMIT $1 FOR UPDATE SKIP LOCKED))"
    ),
    concat!(
        clock!(),
        " DELETE FROM jobs.limit_parked WHERE job = ANY(ARRAY(
          SELECT job FROM jobs.limit_parked WHERE ends_at <= (SELECT ms FROM clock)
          ORDER BY ends_at LIMIT $1 FOR UPDATE SKIP LOCKED))"
    ),
];

#[async_trait]
impl SharedLimits for PostgresJobStore {
    async fn lease(
        &self,
        holder: &str,
        wants: Vec<LeaseWant>,
        ttl: Duration,
    ) -> Result<Vec<LeasedSlots>, EngineError> {
        let locks = locks(wants.iter().map(|want| (&*want.limit, &*want.key)));
        let lease = || {
            sqlx::query(LEASE)
                .bind(text(holder))
                .bind(column(&wants, |want| text(&want.limit).into_owned()))
                .bind(column(&wants, |want| text(&want.key).into_owned()))
                .bind(column(&wants, |want| i64::from(want.slots)))
                .bind(column(&wants, |want| i64::from(want.max)))
                .bind(ceil_span_ms(ttl))
        };
        let rows = self.in_turn(&locks, lease).await?;
        let answer = |row: &PgRow| LeasedSlots {
            slots: count(row.get("slots")),
            free: count(row.get("free")),
            parked: row.get("parked"),
        };
        Ok(rows.iter().map(answer).collect())
    }

    async fn starts(&self, wants: Vec<StartsWant>) -> Result<Vec<GrantedStarts>, EngineError> {
        let locks = locks(wants.iter().map(|want| (&*want.limit, &*want.key)));
        let blocks = column(&wants, |_| draw_claim(&self.ambient));
        let starts = || {
            sqlx::query(STARTS)
                .bind(column(&wants, |want| text(&want.limit).into_owned()))
                .bind(column(&wants, |want| text(&want.key).into_owned()))
                .bind(column(&wants, |want| i64::from(want.starts)))
                .bind(column(&wants, |want| i64::from(want.max)))
                .bind(column(&wants, |want| ceil_span_ms(want.per)))
                .bind(column(&wants, |want| ceil_span_ms(valid_for(want.per))))
                .bind(&blocks)
        };
        let rows = self.in_turn(&locks, starts).await?;
        let answer = |((row, want), block): ((&PgRow, &StartsWant), &i64)| GrantedStarts {
            block: *block,
            starts: count(row.get("starts")),
            valid_for: valid_for(want.per),
            free: count(row.get("free")),
            free_in: span(row.get("free_in")),
            parked: row.get("parked"),
        };
        Ok(rows.iter().zip(&wants).zip(&blocks).map(answer).collect())
    }

    async fn return_starts(&self, unused: Vec<UnusedStarts>) -> Result<(), EngineError> {
        let limits: Vec<String> = column(&unused, |unused| text(&unused.limit).into_owned());
        let keys: Vec<String> = column(&unused, |unused| text(&unused.key).into_owned());
        let blocks: Vec<i64> = column(&unused, |unused| unused.block);
        let used: Vec<i64> = column(&unused, |unused| i64::from(unused.used));
        self.execute(|| sqlx::query(RETURN).bind(&limits).bind(&keys).bind(&blocks).bind(&used)).await
    }

    async fn park(&self, jobs: Vec<ParkedJob>) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = column(&jobs, |parked| parked.job.0);
        let limits: Vec<String> = column(&jobs, |parked| text(&parked.limit).into_owned());
        let keys: Vec<String> = column(&jobs, |parked| text(&parked.key).into_owned());
        let comes_in: Vec<i64> = column(&jobs, |parked| ceil_span_ms(parked.comes_in));
        self.execute(|| {
            let park = sqlx::query(PARK).bind(&ids).bind(&limits).bind(&keys).bind(&comes_in);
            park.bind(i64::from(PARKED_MAX))
        })
        .await
    }

    async fn unpark(&self, limit: &str, key: &str, most: u32) -> Result<Vec<JobId>, EngineError> {
        let unpark = || sqlx::query(UNPARK).bind(text(limit)).bind(text(key)).bind(i64::from(most));
        Ok(self.rows(unpark).await?.iter().map(|row| JobId(row.get("job"))).collect())
    }

    async fn limits_in_use(&self, filter: &LimitFilter) -> Result<Vec<LimitInUse>, EngineError> {
        let Some((statement, name, key)) = page_of(filter) else { return Ok(Vec::new()) };
        let most = i64::from(filter.most.min(LIMITS_LISTED_MAX));
        let list = || {
            let list = sqlx::query(statement).bind(text(&name)).bind(text(&key));
            list.bind(most).bind(i64::from(PARKED_COUNTED_MAX))
        };
        Ok(self.rows(list).await?.iter().map(in_use).collect())
    }

    async fn expire_limits(&self) -> Result<u64, EngineError> {
        self.run(async || {
            let (mut tx, mut expired) = (self.database.begin().await?, 0);
            for statement in EXPIRE {
                let expire = self.database.query(statement).bind(i64::from(LIMITS_EXPIRED_MAX));
                expired += expire.execute(&mut *tx).await?.rows_affected();
            }
            tx.commit().await?;
            Ok(expired)
        })
        .await
    }
}

impl PostgresJobStore {
    /// Runs a statement after all others that hold one of these locks.
    async fn in_turn<'q>(
        &self,
        locks: &[String],
        statement: impl Fn() -> base::postgres::Query<'q>,
    ) -> Result<Vec<PgRow>, EngineError> {
        self.run(async || {
            let mut tx = self.database.begin().await?;
            self.database.query(LOCK).bind(locks).execute(&mut *tx).await?;
            let statement = statement().persistent(self.database.names_statements());
            let rows = statement.fetch_all(&mut *tx).await?;
            tx.commit().await?;
            Ok::<_, PostgresFault>(rows)
        })
        .await
    }
}

/// Names of the locks of these keys, sorted.
fn locks<'a>(keys: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let names: BTreeSet<String> = keys.map(|(limit, key)| format!("limit {limit}/{}", text(key))).collect();
    names.into_iter().collect()
}
