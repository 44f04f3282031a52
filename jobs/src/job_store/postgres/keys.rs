//! Reservation and release of unique keys.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use base::{ErrorClass, Timestamp, ids::Uuid};
use sqlx::{PgConnection, Row, postgres::PgRow};

use super::PostgresJobStore;
use crate::{
    engine::{EngineError, HolderState, KeyHolder},
    envelope::JobId,
    job_store::{
        KEYS_EXPIRED_MAX, KeyRequest, Reservation, UniqueKeys,
        keys::{KeyRow, KeyStep},
    },
    postgres::{PostgresFault, column, text},
};

/// Locks no row of a holder: such a lock would delay the release, and locking the rows of all holders ends in
/// deadlocks. Inserts in key order, so that two batches with common keys wait for each other's new rows instead of
/// deadlocking.
pub(super) const RESERVE: &str = "
    INSERT INTO jobs.unique_keys (key, job, queue, kept, period_end, reserved_at, expires_at)
    SELECT key, job, queue, kept, period_end, $6, $7
    FROM unnest($1::text[], $2::uuid[], $3::text[], $4::boolean[], $5::bigint[])
      AS wanted (key, job, queue, kept, period_end)
    ORDER BY key
    ON CONFLICT (key) DO NOTHING
    RETURNING key, job";

pub(super) const HOLDERS: &str =
    "SELECT key, job, held_as, expires_at FROM jobs.unique_keys WHERE key = ANY($1)";

/// Replaces the end of own reservations that are not confirmed; without an end, of own keys however they are held.
pub(super) const RENEW: &str = "
    UPDATE jobs.unique_keys SET expires_at = $3, held_as = 'active' WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE key = ANY($1) AND job = ANY($2)
        AND ($3::bigint IS NULL OR (held_as = 'active' AND expires_at IS NOT NULL))
      ORDER BY key FOR UPDATE))
    RETURNING key, job";

/// Deletes ended reservations that are in the way of others.
pub(super) const GIVE_UP: &str = "
    DELETE FROM jobs.unique_keys WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE key = ANY($1) AND expires_at <= $2 ORDER BY key FOR UPDATE))";

pub(super) const CONFIRM: &str = "
    UPDATE jobs.unique_keys SET expires_at = NULL WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE job = ANY($1) AND expires_at IS NOT NULL AND held_as = 'active'
      ORDER BY key FOR UPDATE))";

pub(super) const WITHDRAW: &str = "
    DELETE FROM jobs.unique_keys WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE job = ANY($1) AND reserved_at = $2 AND expires_at IS NOT NULL
        AND held_as = 'active'
      ORDER BY key FOR UPDATE))";

/// Skips locked rows: a holder that confirms at this moment is alive.
pub(super) const EXPIRE_KEYS: &str = "
    DELETE FROM jobs.unique_keys WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))";

/// Leaves the rest of a period; with `$2` of keys that dead jobs keep, too. Locks in key order, so that concurrent
/// releases of the same jobs wait for each other instead of deadlocking.
pub(super) const RELEASE: &str = "
    WITH ended AS (
      SELECT key, period_end FROM jobs.unique_keys WHERE job = ANY($1) AND (NOT kept OR $2::boolean)
      ORDER BY key FOR UPDATE),
    periods AS (
      UPDATE jobs.unique_keys SET held_as = 'period', expires_at = period_end WHERE key = ANY(ARRAY(
        SELECT key FROM ended WHERE period_end IS NOT NULL)))
    DELETE FROM jobs.unique_keys WHERE key = ANY(ARRAY(SELECT key FROM ended WHERE period_end IS NULL))";

pub(super) const KEEP_DEAD: &str = "
    UPDATE jobs.unique_keys SET held_as = 'dead', expires_at = NULL WHERE key = ANY(ARRAY(
      SELECT key FROM jobs.unique_keys WHERE job = ANY($1) AND kept ORDER BY key FOR UPDATE))";

/// Rounds of reserving: a holder may end after its key was rejected and before the key is read, or its reservation has
/// ended; then the key is reserved again. That many rounds in a row mean that some job takes and frees a key in a loop.
const ROUNDS_MAX: u32 = 32;

/// Keys to reserve, as texts that the database can hold.
type Wanted = BTreeMap<String, KeyRequest>;

#[async_trait]
impl UniqueKeys for PostgresJobStore {
    async fn reserve_until(
        &self,
        keys: Vec<KeyRequest>,
        now: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Vec<Reservation>, EngineError> {
        // Of several jobs with one key the first one requests it; the others get its holder.
        let mut wanted = Wanted::new();
        for request in &keys {
            wanted.entry(text(&request.key).into_owned()).or_insert_with(|| request.clone());
        }
        let holders = self.holders(wanted, (now, until)).await?;
        let answer = |request: &KeyRequest| match holders.get(text(&request.key).as_ref()) {
            Some(holder) if holder.id != request.job => Reservation::Held(*holder),
            Some(holder) if until.is_some() && holder.state != HolderState::Active => Reservation::Ended,
            _ => Reservation::Reserved,
        };
        Ok(keys.iter().map(answer).collect())
    }

    async fn confirm(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.execute(|| sqlx::query(CONFIRM).bind(&ids)).await
    }

    async fn withdraw(&self, ids: &[JobId], reserved_at: Timestamp) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.execute(|| sqlx::query(WITHDRAW).bind(&ids).bind(reserved_at.as_millisecond())).await
    }

    async fn release(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        self.execute(|| sqlx::query(RELEASE).bind(&ids).bind(true)).await
    }

    async fn expire_keys(&self, now: Timestamp) -> Result<u64, EngineError> {
        let expire = || sqlx::query(EXPIRE_KEYS).bind(now.as_millisecond()).bind(i64::from(KEYS_EXPIRED_MAX));
        self.run(async || Ok(self.database.run(expire()).await?)).await
    }
}

impl PostgresJobStore {
    /// Frees the keys of jobs, but for the rest of a period; only with `with_kept` those that dead jobs keep.
    pub(super) async fn release_in(
        &self,
        c: &mut PgConnection,
        ids: &[Uuid],
        with_kept: bool,
    ) -> Result<(), PostgresFault> {
        self.database.query(RELEASE).bind(ids).bind(with_kept).execute(c).await?;
        Ok(())
    }

    /// The holder of each key, after all free keys were reserved.
    async fn holders(
        &self,
        mut wanted: Wanted,
        times: (Timestamp, Option<Timestamp>),
    ) -> Result<HashMap<String, KeyHolder>, EngineError> {
        let mut holders = HashMap::with_capacity(wanted.len());
        for _ in 0..ROUNDS_MAX {
            holders.extend(self.run(|| self.try_reserve(&wanted, times)).await?);
            wanted.retain(|key, _| !holders.contains_key(key));
            if wanted.is_empty() {
                return Ok(holders);
            }
        }
        let detail = "unique keys change hands faster than they can be read; try again";
        Err(EngineError::new(ErrorClass::Busy, "job store", detail))
    }

    /// One round: the keys reserved now, and the holders found for the other keys.
    async fn try_reserve(
        &self,
        wanted: &Wanted,
        (now, until): (Timestamp, Option<Timestamp>),
    ) -> Result<HashMap<String, KeyHolder>, PostgresFault> {
        let (now, until) = (now.as_millisecond(), until.map(Timestamp::as_millisecond));
        let keys: Vec<&str> = wanted.keys().map(String::as_str).collect();
        let requests: Vec<&KeyRequest> = wanted.values().collect();
        let ids: Vec<Uuid> = column(&requests, |request| request.job.0);
        let reserve = sqlx::query(RESERVE)
            .bind(&keys)
            .bind(&ids)
            .bind(column(&requests, |request| text(&request.queue).into_owned()))
            .bind(column(&requests, |request| request.kept))
            .bind(column(&requests, |request| request.period_end.map(Timestamp::as_millisecond)))
            .bind(now)
            .bind(until);
        let taken = self.database.rows(reserve).await?;
        let mut holders: HashMap<_, _> = taken.iter().map(reserved).collect();
        let others: Vec<&str> = keys.into_iter().filter(|&key| !holders.contains_key(key)).collect();
        if others.is_empty() {
            return Ok(holders);
        }
        let (mut own, mut ended) = (Vec::new(), Vec::new());
        for row in self.database.rows(sqlx::query(HOLDERS).bind(others)).await? {
            let (key, held): (String, _) = (row.get("key"), KeyRow::read(&row, JobId(row.get("job"))));
            let Some(request) = wanted.get(&key) else { continue };
            match held.step(request.job, now, until.is_some()) {
                KeyStep::Renew => own.push(key),
                KeyStep::Replace => ended.push(key),
                KeyStep::Answer(_) => {
                    holders.insert(key, held.holder);
                }
            }
        }
        if !own.is_empty() {
            let renew = sqlx::query(RENEW).bind(own).bind(ids).bind(until);
            holders.extend(self.database.rows(renew).await?.iter().map(reserved));
        }
        if !ended.is_empty() {
            self.database.run(sqlx::query(GIVE_UP).bind(ended).bind(now)).await?;
        }
        Ok(holders)
    }
}

/// Key and job of a row that holds it by an own request.
fn reserved(row: &PgRow) -> (String, KeyHolder) {
    (row.get("key"), KeyHolder { id: JobId(row.get("job")), state: HolderState::Active })
}
