//! Publishing: any number of jobs, in units of bounded size, each unit one multi-row statement.
//!
//! Guarantees: a batch is durable when its result is returned; nothing of a batch is stored when any of it is rejected.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use base::time::ceil_ms;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;
use sqlx::{Row, SqliteConnection};

use super::{fault::SqliteFault, file::SqliteEngine, order, row, unique};
use crate::{
    engine::{EngineError, KeyHolder, Publish, Published},
    envelope::{Envelope, JobId},
};

/// Most rows of one write unit.
const UNIT_ROWS_MAX: usize = 1000;
/// Payload bytes after which a write unit takes no further row.
const UNIT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Units queued at the writer before the first result, so that they share commits.
const UNITS_AHEAD: usize = 8;
/// Longest kind or key, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// A job as the INSERT statement reads it.
#[derive(Serialize)]
struct NewJob {
    id: String,
    queue: String,
    state: &'static str,
    priority: u8,
    kind: String,
    version: u16,
    attempt: u32,
    max_attempts: u32,
    created_at: i64,
    run_at: Option<i64>,
    trace: Option<String>,
    unique_key: Option<String>,
    concurrency_key: Option<String>,
    fair_key: Option<String>,
    subject: Option<String>,
    payload: String,
}

#[async_trait]
impl Publish for SqliteEngine {
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        envelopes.iter().try_for_each(check)?;
        let queues: HashSet<&str> = envelopes.iter().map(|e| e.queue.as_str()).collect();
        let touched: Vec<String> = queues.iter().map(|&name| name.to_owned()).collect();
        self.file.require_queues(queues).await?;
        let now = self.file.now_ms();
        let answers: Vec<Vec<Published>> = stream::iter(units(envelopes))
            .map(|unit| self.file.write(move |c| Box::pin(insert(c, unit, now))))
            .buffered(UNITS_AHEAD)
            .try_collect()
            .await?;
        for queue in &touched {
            self.file.wakes.wake(queue);
        }
        Ok(answers.concat())
    }
}

fn check(envelope: &Envelope) -> Result<(), EngineError> {
    envelope.check_payload()?;
    let Envelope { unique_key, concurrency_key, fair_key, order_key, subject, .. } = envelope;
    let keys = [unique_key, concurrency_key, fair_key, order_key, subject];
    let mut names = keys.into_iter().flatten().chain([&envelope.kind]);
    if names.any(|name| name.len() > NAME_BYTES_MAX || name.contains('\0')) {
        let why = format!("a kind or key of more than {NAME_BYTES_MAX} bytes, or with a NUL in it");
        return Err(EngineError::Refused(format!("{}: {why}", envelope.id)));
    }
    Ok(())
}

fn units(envelopes: Vec<Envelope>) -> Vec<Vec<Envelope>> {
    let mut units = Vec::new();
    let (mut unit, mut bytes) = (Vec::new(), 0);
    for envelope in envelopes {
        if unit.len() == UNIT_ROWS_MAX || bytes > UNIT_BYTES_MAX {
            units.push(std::mem::take(&mut unit));
            bytes = 0;
        }
        bytes += envelope.payload.get().len();
        unit.push(envelope);
    }
    units.push(unit);
    units.retain(|unit| !unit.is_empty());
    units
}

fn new_job(envelope: &Envelope, now: i64) -> NewJob {
    let run_at = envelope.run_at.map(ceil_ms);
    // Whether a job with an order key is the first of its key is known once it is stored.
    let waits = envelope.order_key.is_some() || run_at.is_some_and(|at| at > now);
    NewJob {
        id: envelope.id.to_string(),
        queue: envelope.queue.clone(),
        state: if waits { "delayed" } else { "ready" },
        priority: envelope.priority as u8,
        kind: envelope.kind.clone(),
        version: envelope.version,
        attempt: envelope.attempt,
        max_attempts: envelope.max_attempts,
        created_at: envelope.created_at.as_millisecond(),
        run_at,
        trace: envelope.trace.as_ref().map(ToString::to_string),
        unique_key: envelope.unique_key.clone(),
        concurrency_key: envelope.concurrency_key.clone(),
        fair_key: envelope.fair_key.clone(),
        subject: envelope.subject.clone(),
        payload: envelope.payload.get().to_owned(),
    }
}

async fn insert(
    c: &mut SqliteConnection,
    unit: Vec<Envelope>,
    now: i64,
) -> Result<Vec<Published>, SqliteFault> {
    let periods = unique::periods(c, &unit, now).await?;
    let is_free =
        |envelope: &&Envelope| envelope.unique_key.as_ref().is_none_or(|key| !periods.contains_key(key));
    let rows: Vec<NewJob> = unit.iter().filter(is_free).map(|envelope| new_job(envelope, now)).collect();
    let json = serde_json::to_string(&rows).map_err(|error| EngineError::Refused(error.to_string()))?;
    let before = last_sequence(c, unit.len()).await?;
    // One JSON parameter instead of 16 parameters a row: the statement text is the same for every batch, and sqlx pays
    // per statement and per parameter. `json_each` yields the array in order, so `sequence` follows it.
    let inserted = sqlx::query(
        "INSERT INTO jobs (id, queue, state, priority, kind, version, attempt, max_attempts, created_at, run_at,
           ready_at, trace, unique_key, concurrency_key, fair_key, subject, payload)
         SELECT value->>'id', value->>'queue', value->>'state', value->>'priority', value->>'kind',
           value->>'version', value->>'attempt', value->>'max_attempts', value->>'created_at', value->>'run_at',
           ?2, value->>'trace', value->>'unique_key', value->>'concurrency_key', value->>'fair_key',
           value->>'subject', value->>'payload'
         FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(json)
    .bind(now)
    .execute(&mut *c)
    .await?
    .rows_affected();
    let answers = if inserted == unit.len() as u64 {
        vec![Published::Accepted; unit.len()]
    } else {
        answers(c, &unit, before, periods).await?
    };
    unique::add_rules(c, &unit, &answers, now).await?;
    order::line_up(c, &unit, &answers, now).await?;
    Ok(answers)
}

/// The last sequence before the unit. Not read for a unit of one: when its row was not stored, an existing row is
/// older.
async fn last_sequence(c: &mut SqliteConnection, rows: usize) -> Result<i64, SqliteFault> {
    if rows == 1 {
        return Ok(i64::MAX);
    }
    Ok(sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM jobs").fetch_one(c).await?)
}

/// Determines what was stored when the row count is short: rows after `before` are new.
async fn answers(
    c: &mut SqliteConnection,
    unit: &[Envelope],
    before: i64,
    periods: HashMap<String, KeyHolder>,
) -> Result<Vec<Published>, SqliteFault> {
    let ids: Vec<String> = unit.iter().map(|e| e.id.to_string()).collect();
    let known = sqlx::query("SELECT id, sequence FROM jobs WHERE id IN (SELECT value FROM json_each(?1))")
        .bind(serde_json::Value::from(ids).to_string())
        .fetch_all(&mut *c)
        .await?;
    let mut known: HashMap<JobId, bool> = known
        .iter()
        .map(|found| (row::id_of(&row::lossy(found, "id")), found.get::<i64, _>("sequence") > before))
        .collect();
    // A job that holds its key by its state is told before a period, which may be its own.
    let mut holders = periods;
    holders.extend(unique::holders(c, unit).await?);
    // A second envelope with the same id in one batch is a duplicate of the first.
    let answer = |envelope: &Envelope| {
        if let Some(new) = known.get_mut(&envelope.id) {
            return if std::mem::take(new) { Published::Accepted } else { Published::Duplicate };
        }
        // One that holds its own key has ended, and its period lasts.
        let holder = envelope.unique_key.as_ref().and_then(|key| holders.get(key));
        let other = holder.filter(|holder| holder.id != envelope.id);
        other.map_or(Published::Duplicate, |&other| Published::NotUnique(other))
    };
    Ok(unit.iter().map(answer).collect())
}
