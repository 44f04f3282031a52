//! Conditional inserts, and the reason for each rejected one.

use base::{Timestamp, sqlite::SqliteError};
use sqlx::SqliteConnection;
use store::{
    domain::{Decision, Payment, PaymentId, RefundId, RefundState},
    payments::{Begun, Decided, NewPayment, RefundBegun, rejection},
};

use super::rows;

pub(super) async fn open(c: &mut SqliteConnection, payment: NewPayment) -> Result<Payment, SqliteError> {
    let sql = "INSERT INTO payments (id, order_id, merchant_id, amount_minor, currency, method, provider, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING";
    sqlx::query(sql)
        .bind(payment.id.to_string())
        .bind(payment.order.to_string())
        .bind(payment.merchant.to_string())
        .bind(payment.amount_minor)
        .bind(payment.currency.to_string())
        .bind(payment.method)
        .bind(payment.provider)
        .bind(payment.at.as_millisecond())
        .execute(&mut *c)
        .await?;
    let stored = rows::payment(c, payment.id).await?;
    stored.ok_or_else(|| SqliteError::Corrupt(format!("{} is missing right after its insert", payment.id)))
}

pub(super) async fn begin_attempt(
    c: &mut SqliteConnection,
    id: PaymentId,
    worker: String,
    at: Timestamp,
) -> Result<Begun, SqliteError> {
    let sql = "INSERT INTO payment_attempts (payment_id, epoch, worker, begun_at)
        SELECT p.id, 1 + coalesce((SELECT max(a.epoch) FROM payment_attempts a WHERE a.payment_id = p.id), 0), ?2, ?3
        FROM payments p
        WHERE p.id = ?1 AND NOT EXISTS (SELECT 1 FROM payment_decisions d WHERE d.payment_id = p.id)
        RETURNING epoch";
    let epoch: Option<i64> = sqlx::query_scalar(sql)
        .bind(id.to_string())
        .bind(worker)
        .bind(at.as_millisecond())
        .fetch_optional(&mut *c)
        .await?;
    if let Some(epoch) = epoch.and_then(|epoch| u64::try_from(epoch).ok()) {
        return Ok(Begun::Attempt { epoch });
    }
    rejection::not_begun(rows::payment(c, id).await?.as_ref())
        .ok_or_else(|| SqliteError::Corrupt(format!("{id} is undecided but rejects an attempt")))
}

/// The first note stands; a note on an attempt that never began is dropped.
pub(super) async fn note_attempt(
    c: &mut SqliteConnection,
    id: PaymentId,
    epoch: u64,
    note: String,
    at: Timestamp,
) -> Result<(), SqliteError> {
    let sql = "INSERT INTO payment_attempt_notes (payment_id, epoch, note, noted_at)
        SELECT payment_id, epoch, ?3, ?4 FROM payment_attempts WHERE payment_id = ?1 AND epoch = ?2
        ON CONFLICT (payment_id, epoch) DO NOTHING";
    sqlx::query(sql)
        .bind(id.to_string())
        .bind(rejection::stored_epoch(epoch))
        .bind(note)
        .bind(at.as_millisecond())
        .execute(c)
        .await?;
    Ok(())
}

pub(super) async fn decide(
    c: &mut SqliteConnection,
    id: PaymentId,
    epoch: u64,
    decision: Decision,
    at: Timestamp,
) -> Result<Decided, SqliteError> {
    let (reference, code) = match decision {
        Decision::Captured { provider_reference } => (Some(provider_reference), None),
        Decision::Declined { code } => (None, Some(code)),
    };
    let sql =
        "INSERT INTO payment_decisions (payment_id, epoch, provider_reference, decline_code, decided_at)
        SELECT ?1, ?2, ?3, ?4, ?5
        WHERE ?2 = (SELECT max(a.epoch) FROM payment_attempts a WHERE a.payment_id = ?1)
          AND NOT EXISTS (SELECT 1 FROM payment_decisions d WHERE d.payment_id = ?1)";
    let inserted = sqlx::query(sql)
        .bind(id.to_string())
        .bind(rejection::stored_epoch(epoch))
        .bind(reference)
        .bind(code)
        .bind(at.as_millisecond())
        .execute(&mut *c)
        .await?;
    if inserted.rows_affected() == 1 {
        return Ok(Decided::Recorded);
    }
    Ok(rejection::not_decided(rows::payment(c, id).await?.as_ref()))
}

/// A zero or negative amount is rejected as well; it would raise the refundable remainder.
pub(super) async fn begin_refund(
    c: &mut SqliteConnection,
    id: PaymentId,
    refund: RefundId,
    amount_minor: i64,
    at: Timestamp,
) -> Result<RefundBegun, SqliteError> {
    // The amount is compared with the remainder: adding it to the sum could overflow into a float, which rounds.
    let sql = "INSERT INTO payment_refunds (payment_id, refund_id, amount_minor, begun_at)
        SELECT p.id, ?2, ?3, ?4
        FROM payments p JOIN payment_decisions d ON d.payment_id = p.id AND d.provider_reference IS NOT NULL
        WHERE p.id = ?1 AND ?3 > 0 AND ?3 <= p.amount_minor - (
            SELECT coalesce(sum(r.amount_minor), 0)
            FROM payment_refunds r LEFT JOIN payment_refund_ends e USING (payment_id, refund_id)
            WHERE r.payment_id = ?1 AND coalesce(e.done, 1) = 1)
        ON CONFLICT (payment_id, refund_id) DO NOTHING";
    let inserted = sqlx::query(sql)
        .bind(id.to_string())
        .bind(refund.to_string())
        .bind(amount_minor)
        .bind(at.as_millisecond())
        .execute(&mut *c)
        .await?;
    if inserted.rows_affected() == 1 {
        return Ok(RefundBegun::Open);
    }
    Ok(rows::payment(c, id)
        .await?
        .map_or(RefundBegun::NotFound, |payment| rejection::refund_not_begun(&payment, refund)))
}

pub(super) async fn end_refund(
    c: &mut SqliteConnection,
    id: PaymentId,
    refund: RefundId,
    done: bool,
    provider_reference: String,
    at: Timestamp,
) -> Result<Option<RefundState>, SqliteError> {
    let sql = "INSERT INTO payment_refund_ends (payment_id, refund_id, done, provider_reference, ended_at)
        SELECT payment_id, refund_id, ?3, ?4, ?5 FROM payment_refunds WHERE payment_id = ?1 AND refund_id = ?2
        ON CONFLICT (payment_id, refund_id) DO NOTHING";
    sqlx::query(sql)
        .bind(id.to_string())
        .bind(refund.to_string())
        .bind(done)
        .bind(provider_reference)
        .bind(at.as_millisecond())
        .execute(&mut *c)
        .await?;
    let sql = "SELECT done FROM payment_refund_ends WHERE payment_id = ? AND refund_id = ?";
    let recorded: Option<bool> =
        sqlx::query_scalar(sql).bind(id.to_string()).bind(refund.to_string()).fetch_optional(c).await?;
    Ok(recorded.map(|done| rejection::refund_state(Some(done))))
}
