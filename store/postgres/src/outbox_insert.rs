//! Outbox inserts: the messages of a unit as arguments of one statement, which writes them into the log and the queue
//! in the order in which they were added.
//!
//! A transaction marks a lower bound of its positions before it draws them, as a shared advisory lock, which no other
//! lock conflicts with: [`SETTLED`] reads these marks. The event log is listed by position, and positions become
//! visible in the order of commits: without the marks, a reader who knows the newest event misses an earlier one that
//! is committed later.

use base::postgres::Query;
use store::rules::messages::Messages;

use super::{
    fault::PostgresFault,
    row::{column, to_json},
    timestamps::Moment,
};

/// Positions up to this one are those of transactions that have ended, for every snapshot taken afterwards. The newest
/// position is read before the marks: a later one may belong to a transaction whose mark was not there yet.
pub(super) const SETTLED: &str = "
    WITH newest AS MATERIALIZED (
        SELECT coalesce(pg_sequence_last_value('outbox_position'), 0) AS position)
    SELECT least(newest.position, under_way.position) AS position
    FROM newest CROSS JOIN LATERAL (
        SELECT min(((classid::bigint & 65535) << 32) | objid::bigint) AS position FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint >> 16) = 28517
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND newest.position >= 0) AS under_way";

/// The rows of `messages` with their positions; [`bind`] binds `$1` to `$9`.
macro_rules! numbered_messages {
    () => {
        // The key of the lock: 28517 in the upper 16 bits, the bound in the others.
        "marked AS MATERIALIZED (
            SELECT pg_advisory_xact_lock_shared(
                (28517::bigint << 48) + coalesce(pg_sequence_last_value('outbox_position'), 0))),
        numbered AS MATERIALIZED (
            SELECT nextval('outbox_position') AS position, m.* FROM (
                SELECT given.* FROM marked CROSS JOIN unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::uuid[], $7::bigint[],
                    $8::text[], $9::text[])
                WITH ORDINALITY AS given (id, merchant_id, subject, kind, order_id, sequence, data, trace, place)
                ORDER BY place) AS m),
        logged AS (
            INSERT INTO outbox (id, position, merchant_id, subject, kind, order_id, sequence, at, data, trace)
            SELECT id, position, merchant_id, subject, kind, order_id, sequence, $1, data::json, trace FROM numbered)
        INSERT INTO outbox_unsent (position, id, subject, at) SELECT position, id, subject, $1 FROM numbered"
    };
}
pub(super) use numbered_messages;

pub(super) const WRITE: &str = concat!("WITH ", numbered_messages!());

/// Binds `$1` to `$9`.
pub(super) fn bind<'q>(query: Query<'q>, messages: &Messages) -> Result<Query<'q>, PostgresFault> {
    let rows = &messages.rows;
    let data = rows.iter().map(|row| to_json(&row.data)).collect::<Result<Vec<_>, _>>()?;
    let sequence =
        |sequence: Option<u64>| sequence.map(|sequence| i64::try_from(sequence).unwrap_or(i64::MAX));
    Ok(query
        .bind(Moment(messages.at))
        .bind(column(rows, |row| row.id.0))
        .bind(column(rows, |row| row.merchant.0))
        .bind(column(rows, |row| row.subject.uuid))
        .bind(column(rows, |row| row.kind))
        .bind(column(rows, |row| row.order.map(|id| id.0)))
        .bind(column(rows, |row| sequence(row.sequence)))
        .bind(data)
        .bind(column(rows, |row| row.trace.as_ref().map(ToString::to_string))))
}
