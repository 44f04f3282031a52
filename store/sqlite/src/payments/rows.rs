//! Mapping of rows to the domain's types. A row that does not read back is a [`SqliteError::Corrupt`], with its payment
//! and column.

use std::collections::HashMap;

use base::sqlite::SqliteError;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use store::{
    domain::{MerchantId, OrderId, Payment, PaymentAttempt, PaymentId, Refund, RefundId},
    payments::{PaymentEntry, rejection},
    rules::columns::Columns,
};

use super::statements::{PAYMENTS, REFUNDS};
use crate::row::get;

pub(super) async fn payment(c: &mut SqliteConnection, id: PaymentId) -> Result<Option<Payment>, SqliteError> {
    Ok(payments(c, &[id]).await?.pop())
}

/// Payments with their decisions and refunds.
pub(super) async fn payments(
    c: &mut SqliteConnection,
    ids: &[PaymentId],
) -> Result<Vec<Payment>, SqliteError> {
    let ids = serde_json::to_string(ids).map_err(|error| SqliteError::Corrupt(error.to_string()))?;
    let rows = sqlx::query(PAYMENTS).bind(&ids).fetch_all(&mut *c).await?;
    let mut refunds = HashMap::<PaymentId, Vec<SqliteRow>>::new();
    for row in sqlx::query(REFUNDS).bind(&ids).fetch_all(c).await? {
        refunds.entry(row.id("payment_id", PaymentId)?).or_default().push(row);
    }
    let payment = |row: &SqliteRow| {
        let id: PaymentId = row.id("id", PaymentId)?;
        let refunds = refunds.get(&id).map(Vec::as_slice).unwrap_or_default();
        read(id, row, refunds).map_err(|error| name(&id.to_string(), error))
    };
    rows.iter().map(payment).collect()
}

fn read(id: PaymentId, row: &SqliteRow, refunds: &[SqliteRow]) -> Result<Payment, SqliteError> {
    Ok(Payment {
        id,
        order: row.id("order_id", OrderId)?,
        merchant: row.id("merchant_id", MerchantId)?,
        amount_minor: get(row, "amount_minor")?,
        currency: row.parsed("currency")?,
        method: get(row, "method")?,
        provider: get(row, "provider")?,
        created_at: row.time("created_at")?,
        epoch: row.number("epoch")?,
        charge: get(row, "charge")?,
        decision: rejection::decision(get(row, "provider_reference")?, get(row, "decline_code")?)
            .map_err(|why| SqliteError::Corrupt(why.to_owned()))?,
        decided_at: row.time_if_any("decided_at")?,
        refunds: refunds.iter().map(refund).collect::<Result<_, _>>()?,
    })
}

fn refund(row: &SqliteRow) -> Result<Refund, SqliteError> {
    Ok(Refund {
        id: row.id("refund_id", RefundId)?,
        amount_minor: get(row, "amount_minor")?,
        begun_at: row.time("begun_at")?,
        state: rejection::refund_state(get(row, "done")?),
    })
}

pub(super) fn attempt(row: &SqliteRow) -> Result<PaymentAttempt, SqliteError> {
    let read = || {
        Ok(PaymentAttempt {
            epoch: row.number("epoch")?,
            worker: get(row, "worker")?,
            begun_at: row.time("begun_at")?,
            note: get(row, "note")?,
        })
    };
    read().map_err(|error| name(get(row, "payment_id").unwrap_or("?"), error))
}

pub(super) fn entry(row: &SqliteRow) -> Result<PaymentEntry, SqliteError> {
    let read = || {
        Ok(PaymentEntry {
            id: row.id("id", PaymentId)?,
            order: row.id("order_id", OrderId)?,
            amount_minor: get(row, "amount_minor")?,
            currency: row.parsed("currency")?,
            created_at: row.time("created_at")?,
        })
    };
    read().map_err(|error| name(get(row, "id").unwrap_or("?"), error))
}

/// Names the payment of a damaged row.
fn name(payment: &str, error: SqliteError) -> SqliteError {
    match error {
        SqliteError::Corrupt(detail) => SqliteError::Corrupt(format!("{payment}: {detail}")),
        other => other,
    }
}
