//! Writes of the sandbox ledger: one transaction per request, each under its idempotency key. Queries are in
//! [`super::books`].

use base::{Timestamp, sqlite::WriteFailed};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};

use super::inner::SandboxInner;

/// How often `pm_sandbox_flaky` answers 503 per key.
const FLAKY_FAILURES: i64 = 2;

#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    #[error(transparent)]
    Write(#[from] WriteFailed),
    #[error("a statement on the ledger failed")]
    Sql(#[from] sqlx::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChargeBody {
    pub(super) amount_minor: i64,
    pub(super) currency: String,
    pub(super) payment_method: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RefundBody {
    charge: String,
    pub(super) amount_minor: i64,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize, Default)]
struct Metadata {
    order_id: Option<String>,
}

pub(super) enum Charged {
    /// The charge, captured or declined, as JSON; a repeated call gets the same bytes.
    Answer { body: String, first_call: bool },
    /// The payment method simulates an outage for this call.
    OutOfOrder,
    /// The key belongs to another request.
    KeyReused,
}

pub(super) enum Refunded {
    Answer(String),
    NoSuchCharge,
    /// All refunds together would exceed the charge.
    TooMuch,
    KeyReused,
}

impl SandboxInner {
    /// Charges, or repeats the answer stored under the key.
    pub(super) async fn charge(&self, key: String, body: ChargeBody) -> Result<Charged, SandboxError> {
        let id = format!("ch_{}", self.ambient.uuid().simple());
        let at = self.ambient.now();
        self.database.write(move |c| Box::pin(charge(c, key, body, id, at))).await
    }

    /// Refunds, or repeats the answer stored under the key.
    pub(super) async fn refund(&self, key: String, body: RefundBody) -> Result<Refunded, SandboxError> {
        let id = format!("re_{}", self.ambient.uuid().simple());
        let at = self.ambient.now();
        self.database.write(move |c| Box::pin(refund(c, key, body, id, at))).await
    }
}

/// Counts the call. Returns whether the fingerprint is the key's own, the number of its calls, and the stored answer.
async fn note_call(
    connection: &mut SqliteConnection,
    key: &str,
    fingerprint: &[u8],
) -> Result<(bool, i64, Option<String>), sqlx::Error> {
    let row = sqlx::query(
        "INSERT INTO requests (idempotency_key, fingerprint, calls) VALUES (?1, ?2, 1)
         ON CONFLICT (idempotency_key) DO UPDATE SET calls = calls + (fingerprint = excluded.fingerprint)
         RETURNING fingerprint = ?2 AS same, calls, answer",
    )
    .bind(key)
    .bind(fingerprint)
    .fetch_one(connection)
    .await?;
    Ok((row.try_get("same")?, row.try_get("calls")?, row.try_get("answer")?))
}

async fn keep_answer(connection: &mut SqliteConnection, key: &str, answer: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE requests SET answer = ? WHERE idempotency_key = ?")
        .bind(answer)
        .bind(key)
        .execute(connection)
        .await?;
    Ok(())
}

async fn charge(
    connection: &mut SqliteConnection,
    key: String,
    body: ChargeBody,
    id: String,
    at: Timestamp,
) -> Result<Charged, SandboxError> {
    let amount = body.amount_minor.to_string();
    let order = body.metadata.order_id.as_deref().unwrap_or_default();
    let fingerprint = fingerprint(&["charge", &amount, &body.currency, &body.payment_method, order]);
    let (same, calls, answer) = note_call(connection, &key, &fingerprint).await?;
    if !same {
        return Ok(Charged::KeyReused);
    }
    if let Some(body) = answer {
        return Ok(Charged::Answer { body, first_call: false });
    }
    let decline_code = match body.payment_method.as_str() {
        "pm_sandbox_flaky" if calls <= FLAKY_FAILURES => return Ok(Charged::OutOfOrder),
        "pm_card_visa" | "pm_sandbox_slow" | "pm_sandbox_timeout" | "pm_sandbox_flaky" => None,
        "pm_card_chargeDeclined" => Some("card_declined"),
        "pm_card_chargeDeclinedInsufficientFunds" => Some("insufficient_funds"),
        _ => Some("invalid_payment_method"),
    };
    let status = if decline_code.is_none() { "captured" } else { "declined" };
    let answer = serde_json::json!({
        "object": "charge", "id": id, "status": status, "decline_code": decline_code, "idempotency_key": key,
        "amount_minor": body.amount_minor, "currency": body.currency, "order_id": body.metadata.order_id,
        "created_at": at,
    })
    .to_string();
    if decline_code.is_none() {
        sqlx::query(
            "INSERT INTO ledger (id, type, idempotency_key, charge, amount_minor, currency, order_id, created_at)
             VALUES (?1, 'charge', ?2, ?1, ?3, ?4, ?5, ?6)",
        )
        .bind(&id)
        .bind(&key)
        .bind(body.amount_minor)
        .bind(&body.currency)
        .bind(&body.metadata.order_id)
        .bind(at.as_millisecond())
        .execute(&mut *connection)
        .await?;
    }
    keep_answer(connection, &key, &answer).await?;
    Ok(Charged::Answer { body: answer, first_call: calls == 1 })
}

async fn refund(
    connection: &mut SqliteConnection,
    key: String,
    body: RefundBody,
    id: String,
    at: Timestamp,
) -> Result<Refunded, SandboxError> {
    let fingerprint = fingerprint(&["refund", &body.charge, &body.amount_minor.to_string()]);
    let (same, _, answer) = note_call(connection, &key, &fingerprint).await?;
    if !same {
        return Ok(Refunded::KeyReused);
    }
    if let Some(answer) = answer {
        return Ok(Refunded::Answer(answer));
    }
    let charge: Option<(String, i64)> = sqlx::query_as(
        "SELECT currency, amount_minor - (SELECT coalesce(sum(amount_minor), 0) FROM ledger
                                          WHERE charge = ?1 AND type = 'refund')
         FROM ledger WHERE id = ?1 AND type = 'charge'",
    )
    .bind(&body.charge)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((currency, left_minor)) = charge else { return Ok(Refunded::NoSuchCharge) };
    if body.amount_minor > left_minor {
        return Ok(Refunded::TooMuch);
    }
    sqlx::query(
        "INSERT INTO ledger (id, type, idempotency_key, charge, amount_minor, currency, order_id, created_at)
         VALUES (?, 'refund', ?, ?, ?, ?, ?, ?)",
    )
    .bind(&id)
    .bind(&key)
    .bind(&body.charge)
    .bind(body.amount_minor)
    .bind(&currency)
    .bind(&body.metadata.order_id)
    .bind(at.as_millisecond())
    .execute(&mut *connection)
    .await?;
    let answer = serde_json::json!({
        "object": "refund", "id": id, "charge": body.charge, "idempotency_key": key,
        "amount_minor": body.amount_minor, "currency": currency, "created_at": at,
    })
    .to_string();
    keep_answer(connection, &key, &answer).await?;
    Ok(Refunded::Answer(answer))
}

/// Hash of the parts, each with its length, so that different requests have different fingerprints.
fn fingerprint(parts: &[&str]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}
