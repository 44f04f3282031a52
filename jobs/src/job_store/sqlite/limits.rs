//! Slots and starts per key. The writer of the file makes all calls take turns; the clock is that of the machine, read
//! after a call has its turn.

use std::time::Duration;

use async_trait::async_trait;
use base::time::ceil_span_ms;
use sqlx::{Row, SqliteConnection};

use super::{SqliteJobStore, engine_error};
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
    sqlite::fault::SqliteFault,
};

const LEASED_BY_OTHERS: &str = "SELECT coalesce(sum(slots), 0) FROM limit_leases
    WHERE limit_name = ?1 AND limit_key = ?2 AND holder <> ?3 AND expires_at > ?4";
const HOLD: &str = "INSERT OR REPLACE INTO limit_leases (limit_name, limit_key, holder, slots, expires_at)
    VALUES (?1, ?2, ?3, ?4, ?5)";
const LET_GO: &str = "DELETE FROM limit_leases WHERE limit_name = ?1 AND limit_key = ?2 AND holder = ?3";
const IS_PARKED: &str = "SELECT EXISTS (SELECT 1 FROM limit_parked
    WHERE limit_name = ?1 AND limit_key = ?2 AND ends_at > ?3)";
const COUNTED: &str = "SELECT coalesce(sum(starts), 0) AS starts, coalesce(min(counts_until), 0) AS first_end
    FROM limit_blocks WHERE limit_name = ?1 AND limit_key = ?2 AND counts_until > ?3";
const GRANT: &str = "INSERT INTO limit_blocks
    (limit_name, limit_key, id, starts, granted_at, ends_at, counts_until) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const SHORTEN: &str = "UPDATE limit_blocks SET starts = ?4, ends_at = min(ends_at, ?5),
      counts_until = counts_until - (ends_at - min(ends_at, ?5))
    WHERE limit_name = ?1 AND limit_key = ?2 AND id = ?3 AND starts >= ?4";
const UNUSED: &str =
    "DELETE FROM limit_blocks WHERE limit_name = ?1 AND limit_key = ?2 AND id = ?3 AND starts = 0";
const PARK: &str = "INSERT OR REPLACE INTO limit_parked (job, limit_name, limit_key, parked_at, ends_at)
    SELECT ?1, ?2, ?3, ?4, ?5 WHERE ?6 > (SELECT count(*) FROM (
      SELECT 1 FROM limit_parked WHERE limit_name = ?2 AND limit_key = ?3 LIMIT ?6))";
const NEXT: &str = "SELECT job FROM limit_parked WHERE limit_name = ?1 AND limit_key = ?2 AND ends_at > ?3
    ORDER BY parked_at, job LIMIT ?4";
/// The first keys in use of a table whose rows count until the time in this column.
macro_rules! first_keys_of {
    ($table:literal, $until:literal) => {
        concat!(
            "SELECT * FROM (SELECT DISTINCT limit_name, limit_key FROM ",
            $table,
            " WHERE (limit_name, limit_key) > (?3, ?4) AND (?2 IS NULL OR limit_name = ?2) AND ",
            $until,
            " > ?1 ORDER BY limit_name, limit_key LIMIT ?5)"
        )
    };
}

const IN_USE: &str = concat!(
    "SELECT limit_name, limit_key,
      (SELECT coalesce(sum(slots), 0) FROM limit_leases AS l WHERE l.limit_name = used.limit_name
        AND l.limit_key = used.limit_key AND l.expires_at > ?1) AS leased,
      (SELECT count(*) FROM limit_leases AS l WHERE l.limit_name = used.limit_name
        AND l.limit_key = used.limit_key AND l.expires_at > ?1) AS holders,
      (SELECT coalesce(sum(starts), 0) FROM limit_blocks AS b WHERE b.limit_name = used.limit_name
        AND b.limit_key = used.limit_key AND b.counts_until > ?1) AS starts,
      (SELECT count(*) FROM (SELECT 1 FROM limit_parked AS p WHERE p.limit_name = used.limit_name
        AND p.limit_key = used.limit_key AND p.ends_at > ?1 LIMIT ?6) AS counted) AS parked,
      (SELECT min(parked_at) FROM limit_parked AS p WHERE p.limit_name = used.limit_name
        AND p.limit_key = used.limit_key AND p.ends_at > ?1) AS oldest_parked_at
    FROM (",
    first_keys_of!("limit_leases", "expires_at"),
    " UNION ",
    first_keys_of!("limit_blocks", "counts_until"),
    " UNION ",
    first_keys_of!("limit_parked", "ends_at"),
    ") AS used ORDER BY limit_name, limit_key LIMIT ?5"
);
/// Of leases, blocks and parked jobs.
const EXPIRE: [&str; 3] = [
    "DELETE FROM limit_leases WHERE (limit_name, limit_key, holder) IN (
       SELECT limit_name, limit_key, holder FROM limit_leases WHERE expires_at <= ?1 LIMIT ?2)",
    "DELETE FROM limit_blocks WHERE (limit_name, limit_key, id) IN (
       SELECT limit_name, limit_key, id FROM limit_blocks WHERE counts_until <= ?1 LIMIT ?2)",
    "DELETE FROM limit_parked WHERE job IN (SELECT job FROM limit_parked WHERE ends_at <= ?1 LIMIT ?2)",
];

#[async_trait]
impl SharedLimits for SqliteJobStore {
    async fn lease(
        &self,
        holder: &str,
        wants: Vec<LeaseWant>,
        ttl: Duration,
    ) -> Result<Vec<LeasedSlots>, EngineError> {
        let (holder, ambient) = (holder.to_owned(), self.ambient.clone());
        self.write(move |c| {
            Box::pin(async move {
                let now = ambient.now().as_millisecond();
                let until = now.saturating_add(ceil_span_ms(ttl)).saturating_add(1);
                let mut answers = Vec::with_capacity(wants.len());
                for want in &wants {
                    answers.push(lease(c, &holder, want, (now, until)).await?);
                }
                Ok(answers)
            })
        })
        .await
    }

    async fn starts(&self, wants: Vec<StartsWant>) -> Result<Vec<GrantedStarts>, EngineError> {
        let ambient = self.ambient.clone();
        self.write(move |c| {
            Box::pin(async move {
                let now = ambient.now().as_millisecond();
                let mut answers = Vec::with_capacity(wants.len());
                for want in &wants {
                    answers.push(grant(c, want, draw_claim(&ambient), now).await?);
                }
                Ok(answers)
            })
        })
        .await
    }

    async fn return_starts(&self, unused: Vec<UnusedStarts>) -> Result<(), EngineError> {
        let ambient = self.ambient.clone();
        self.write(move |c| {
            Box::pin(async move {
                let end = ambient.now().as_millisecond().saturating_add(1);
                for UnusedStarts { limit, key, block, used } in &unused {
                    let shorten = sqlx::query(SHORTEN).bind(limit).bind(key).bind(block).bind(used).bind(end);
                    shorten.execute(&mut *c).await?;
                    sqlx::query(UNUSED).bind(limit).bind(key).bind(block).execute(&mut *c).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn park(&self, jobs: Vec<ParkedJob>) -> Result<(), EngineError> {
        let ambient = self.ambient.clone();
        self.write(move |c| {
            Box::pin(async move {
                let now = ambient.now().as_millisecond();
                for ParkedJob { limit, key, job, comes_in } in &jobs {
                    let ends_at = now.saturating_add(ceil_span_ms(*comes_in));
                    let park = sqlx::query(PARK).bind(job.to_string()).bind(limit).bind(key);
                    park.bind(now).bind(ends_at).bind(PARKED_MAX).execute(&mut *c).await?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn unpark(&self, limit: &str, key: &str, most: u32) -> Result<Vec<JobId>, EngineError> {
        let (limit, key, ambient) = (limit.to_owned(), key.to_owned(), self.ambient.clone());
        let jobs: Vec<String> = self
            .write(move |c| {
                Box::pin(async move {
                    let now = ambient.now().as_millisecond();
                    let next = sqlx::query_scalar(NEXT).bind(limit).bind(key).bind(now).bind(most);
                    let jobs: Vec<String> = next.fetch_all(&mut *c).await?;
                    for job in &jobs {
                        let take = sqlx::query("DELETE FROM limit_parked WHERE job = ?1");
                        take.bind(job).execute(&mut *c).await?;
                    }
                    Ok(jobs)
                })
            })
            .await?;
        Ok(jobs.iter().filter_map(|job| job.parse().ok()).collect())
    }

    async fn limits_in_use(&self, filter: &LimitFilter) -> Result<Vec<LimitInUse>, EngineError> {
        let (name, key) = filter.after.clone().unwrap_or_default();
        let list = sqlx::query(IN_USE).bind(self.ambient.now().as_millisecond()).bind(&filter.limit);
        let list =
            list.bind(name).bind(key).bind(filter.most.min(LIMITS_LISTED_MAX)).bind(PARKED_COUNTED_MAX);
        let rows = list.fetch_all(self.database.readers()).await.map_err(engine_error)?;
        Ok(rows.iter().map(in_use).collect())
    }

    async fn expire_limits(&self) -> Result<u64, EngineError> {
        let ambient = self.ambient.clone();
        self.write(move |c| {
            Box::pin(async move {
                let (now, mut expired) = (ambient.now().as_millisecond(), 0);
                for statement in EXPIRE {
                    let expire = sqlx::query(statement).bind(now).bind(LIMITS_EXPIRED_MAX);
                    expired += expire.execute(&mut *c).await?.rows_affected();
                }
                Ok(expired)
            })
        })
        .await
    }
}

async fn lease(
    c: &mut SqliteConnection,
    holder: &str,
    want: &LeaseWant,
    (now, until): (i64, i64),
) -> Result<LeasedSlots, SqliteFault> {
    let LeaseWant { limit, key, slots, max } = want;
    let others = sqlx::query_scalar(LEASED_BY_OTHERS).bind(limit).bind(key).bind(holder).bind(now);
    let others: i64 = others.fetch_one(&mut *c).await?;
    let left = max.saturating_sub(count(others));
    let slots = left.min(*slots);
    let write = if slots > 0 {
        sqlx::query(HOLD).bind(limit).bind(key).bind(holder).bind(slots).bind(until)
    } else {
        sqlx::query(LET_GO).bind(limit).bind(key).bind(holder)
    };
    write.execute(&mut *c).await?;
    Ok(LeasedSlots { slots, free: left - slots, parked: is_parked(c, limit, key, now).await? })
}

async fn grant(
    c: &mut SqliteConnection,
    want: &StartsWant,
    block: i64,
    now: i64,
) -> Result<GrantedStarts, SqliteFault> {
    let StartsWant { limit, key, starts, max, per } = want;
    let counted = sqlx::query(COUNTED).bind(limit).bind(key).bind(now).fetch_one(&mut *c).await?;
    let left = max.saturating_sub(count(counted.get("starts")));
    let (starts, valid_for) = (left.min(*starts), valid_for(*per));
    if starts > 0 {
        let end = now.saturating_add(ceil_span_ms(valid_for)).saturating_add(1);
        let grant = sqlx::query(GRANT).bind(limit).bind(key).bind(block).bind(starts).bind(now);
        grant.bind(end).bind(end.saturating_add(ceil_span_ms(*per))).execute(&mut *c).await?;
    }
    let free_in = span(counted.get::<i64, _>("first_end") - now);
    let parked = is_parked(c, limit, key, now).await?;
    Ok(GrantedStarts { block, starts, valid_for, free: left - starts, free_in, parked })
}

async fn is_parked(c: &mut SqliteConnection, limit: &str, key: &str, now: i64) -> Result<bool, SqliteFault> {
    Ok(sqlx::query_scalar(IS_PARKED).bind(limit).bind(key).bind(now).fetch_one(c).await?)
}
