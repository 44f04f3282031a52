//! Mapping of rows to the domain's types. A row that does not read back is a [`SqliteError::Corrupt`], with its payment
//! and column.

use std::str::FromStr;

use base::{Timestamp, sqlite::SqliteError};
use sqlx::{Executor, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use store::{
    domain::{Decision, MerchantId, Payment, PaymentAttempt, PaymentId, Refund},
    payments::{PaymentEntry, rejection},
};

/// A payment with its decision and refunds.
pub(super) async fn payment(c: &mut SqliteConnection, id: PaymentId) -> Result<Option<Payment>, SqliteError> {
    let sql = "SELECT p.id, p.order_id, p.merchant_id, p.amount_minor, p.currency, p.method, p.provider, p.created_at,
            (SELECT max(a.epoch) FROM payment_attempts a WHERE a.payment_id = p.id) AS epoch,
            d.provider_reference, d.decline_code, d.decided_at
        FROM payments p LEFT JOIN payment_decisions d ON d.payment_id = p.id
        WHERE p.id = ?";
    let Some(row) = sqlx::query(sql).bind(id.to_string()).fetch_optional(&mut *c).await? else {
        return Ok(None);
    };
    let row = Columns { row, of: id };
    Ok(Some(Payment {
        id,
        order: row.parsed("order_id")?,
        merchant: row.parsed("merchant_id")?,
        amount_minor: row.get("amount_minor")?,
        currency: row.parsed("currency")?,
        method: row.get("method")?,
        provider: row.get("provider")?,
        created_at: row.time("created_at")?,
        epoch: row.get::<Option<i64>>("epoch")?.map_or(Ok(0), |epoch| row.number("epoch", epoch))?,
        decision: decision(&row)?,
        decided_at: row
            .get::<Option<i64>>("decided_at")?
            .map(|millis| row.timestamp("decided_at", millis))
            .transpose()?,
        refunds: refunds(c, id).await?,
    }))
}

/// The attempts of a payment, oldest first.
pub(super) async fn attempts(
    c: impl Executor<'_, Database = Sqlite>,
    id: PaymentId,
) -> Result<Vec<PaymentAttempt>, SqliteError> {
    let sql = "SELECT a.epoch, a.worker, a.begun_at, n.note
        FROM payment_attempts a LEFT JOIN payment_attempt_notes n USING (payment_id, epoch)
        WHERE a.payment_id = ? ORDER BY a.epoch";
    let rows = sqlx::query(sql).bind(id.to_string()).fetch_all(c).await?;
    let attempt = |row| {
        let row = Columns { row, of: id };
        Ok(PaymentAttempt {
            epoch: row.number("epoch", row.get("epoch")?)?,
            worker: row.get("worker")?,
            begun_at: row.time("begun_at")?,
            note: row.get("note")?,
        })
    };
    rows.into_iter().map(attempt).collect()
}

/// The payment captured under a provider's reference.
pub(super) async fn by_provider_reference(
    c: impl Executor<'_, Database = Sqlite>,
    provider: &str,
    reference: &str,
) -> Result<Option<PaymentId>, SqliteError> {
    let sql = "SELECT p.id FROM payment_decisions d JOIN payments p ON p.id = d.payment_id
        WHERE d.provider_reference = ? AND p.provider = ?";
    let id: Option<String> = sqlx::query_scalar(sql).bind(reference).bind(provider).fetch_optional(c).await?;
    id.map(|text| parse("payments.id", &text)).transpose()
}

/// See [`store::payments::PaymentStore::list_by_day`].
pub(super) async fn of_day(
    c: impl Executor<'_, Database = Sqlite>,
    merchant: MerchantId,
    day: Timestamp,
    after: Option<PaymentId>,
    limit: u32,
) -> Result<Vec<PaymentEntry>, SqliteError> {
    // A page after an unknown payment is empty: the comparison with its missing row is NULL.
    let sql = "SELECT id, order_id, amount_minor, currency, created_at FROM payments
        WHERE merchant_id = ?1 AND created_at >= ?2 AND created_at < ?3
          AND (?4 IS NULL OR (created_at, id) > (SELECT created_at, id FROM payments WHERE id = ?4))
        ORDER BY created_at, id LIMIT ?5";
    let (from, until) = rejection::day_millis(day);
    let rows = sqlx::query(sql)
        .bind(merchant.to_string())
        .bind(from)
        .bind(until)
        .bind(after.map(|id| id.to_string()))
        .bind(limit)
        .fetch_all(c)
        .await?;
    rows.into_iter().map(entry).collect()
}

/// See [`store::payments::PaymentStore::scan`]. In the order of the primary key, which is the table itself.
pub(super) async fn all(
    c: impl Executor<'_, Database = Sqlite>,
    after: Option<PaymentId>,
    limit: u32,
) -> Result<Vec<PaymentEntry>, SqliteError> {
    let sql = "SELECT id, order_id, amount_minor, currency, created_at FROM payments
        WHERE id > ? ORDER BY id LIMIT ?";
    let after = after.map_or_else(String::new, |id| id.to_string());
    let rows = sqlx::query(sql).bind(after).bind(limit).fetch_all(c).await?;
    rows.into_iter().map(entry).collect()
}

fn entry(row: SqliteRow) -> Result<PaymentEntry, SqliteError> {
    let id: PaymentId = parse("payments.id", &row.try_get::<String, _>("id")?)?;
    let row = Columns { row, of: id };
    Ok(PaymentEntry {
        id,
        order: row.parsed("order_id")?,
        amount_minor: row.get("amount_minor")?,
        currency: row.parsed("currency")?,
        created_at: row.time("created_at")?,
    })
}

async fn refunds(c: &mut SqliteConnection, id: PaymentId) -> Result<Vec<Refund>, SqliteError> {
    let sql = "SELECT r.refund_id, r.amount_minor, r.begun_at, e.done
        FROM payment_refunds r LEFT JOIN payment_refund_ends e USING (payment_id, refund_id)
        WHERE r.payment_id = ? ORDER BY r.begun_at, r.refund_id";
    let rows = sqlx::query(sql).bind(id.to_string()).fetch_all(c).await?;
    let refund = |row| {
        let row = Columns { row, of: id };
        Ok(Refund {
            id: row.parsed("refund_id")?,
            amount_minor: row.get("amount_minor")?,
            begun_at: row.time("begun_at")?,
            state: rejection::refund_state(row.get("done")?),
        })
    };
    rows.into_iter().map(refund).collect()
}

fn decision(row: &Columns) -> Result<Option<Decision>, SqliteError> {
    rejection::decision(row.get("provider_reference")?, row.get("decline_code")?)
        .map_err(|why| SqliteError::Corrupt(format!("{}: {why}", row.of)))
}

/// A row with the payment it belongs to.
struct Columns {
    row: SqliteRow,
    of: PaymentId,
}

impl Columns {
    fn get<'r, T>(&'r self, column: &str) -> Result<T, SqliteError>
    where
        T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
    {
        self.row.try_get(column).map_err(|error| self.damaged(column, &error.to_string()))
    }

    fn parsed<T: FromStr>(&self, column: &str) -> Result<T, SqliteError> {
        let text: String = self.get(column)?;
        text.parse().map_err(|_| self.damaged(column, "does not parse"))
    }

    fn time(&self, column: &str) -> Result<Timestamp, SqliteError> {
        self.timestamp(column, self.get(column)?)
    }

    fn timestamp(&self, column: &str, millis: i64) -> Result<Timestamp, SqliteError> {
        Timestamp::from_millisecond(millis).map_err(|error| self.damaged(column, &error.to_string()))
    }

    fn number(&self, column: &str, value: i64) -> Result<u64, SqliteError> {
        u64::try_from(value).map_err(|error| self.damaged(column, &error.to_string()))
    }

    fn damaged(&self, column: &str, why: &str) -> SqliteError {
        SqliteError::Corrupt(format!("{} of {}: {why}", column, self.of))
    }
}

fn parse<T: FromStr>(column: &str, text: &str) -> Result<T, SqliteError> {
    text.parse().map_err(|_| SqliteError::Corrupt(format!("{column}: `{text}` does not parse")))
}
