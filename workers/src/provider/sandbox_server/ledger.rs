//! Writes of the sandbox ledger: one transaction per request, each under its idempotency key. Queries are in
//! [`super::books`].

use base::{Timestamp, sqlite::WriteFailed};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};

use super::inner::SandboxInner;

/// How often `pm_sandbox_flaky` answers 503 per key.
const FLAKY_FAILURES: i64 = 2;

/// The ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum SandboxError {
    /// The transaction failed.
    #[error(transparent)]
    Write(#[from] WriteFailed),
    /// A statement failed.
    #[error("a statement on the ledger failed")]
    Sql(#[from] sqlx::Error),
}

/// A requested charge.
pub(super) struct ChargeAsked {
    pub(super) key: String,
    pub(super) amount_minor: i64,
    pub(super) currency: String,
    pub(super) method: String,
    pub(super) order_id: Option<String>,
}

/// Result of a request to charge.
pub(super) enum Charged {
    /// The charge, captured or declined, as JSON; a repeated call gets the same bytes.
    Answer { body: String, first_call: bool },
    /// The payment method simulates an outage for this call.
    OutOfOrder,
    /// The key belongs to another request.
    KeyReused,
}

/// Result of a request to refund.
pub(super) enum Refunded {
    /// The refund as JSON.
    Answer(String),
    /// No such charge.
    NoSuchCharge,
    /// All refunds together would exceed the charge.
    TooMuch,
    /// The key belongs to another request.
    KeyReused,
}

#[derive(Serialize)]
struct ChargeView<'a> {
    object: &'static str,
    id: String,
    status: &'static str,
    decline_code: Option<&'static str>,
    idempotency_key: &'a str,
    amount_minor: i64,
    currency: &'a str,
    order_id: Option<&'a str>,
    created_at: Timestamp,
}

impl SandboxInner {
    /// Charges, or repeats the answer stored under the key.
    pub(super) async fn charge(&self, asked: ChargeAsked) -> Result<Charged, SandboxError> {
        let id = format!("ch_{}", self.ambient.uuid().simple());
        let at = self.ambient.now();
        self.database.write(move |c| Box::pin(charge(c, asked, id, at))).await
    }

    /// Refunds, or repeats the answer stored under the key.
    pub(super) async fn refund(
        &self,
        key: String,
        charge: String,
        amount_minor: i64,
        order_id: Option<String>,
    ) -> Result<Refunded, SandboxError> {
        let id = format!("re_{}", self.ambient.uuid().simple());
        let at = self.ambient.now();
        let asked = RefundAsked { id, key, charge, amount_minor, order_id, at };
        self.database.write(move |c| Box::pin(refund(c, asked))).await
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

async fn keep_answer(connection: &mut SqliteConnection, key: &str, body: &str) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE requests SET answer = ? WHERE idempotency_key = ?")
        .bind(body)
        .bind(key)
        .execute(connection)
        .await?;
    Ok(())
}

async fn charge(
    connection: &mut SqliteConnection,
    asked: ChargeAsked,
    id: String,
    at: Timestamp,
) -> Result<Charged, SandboxError> {
    let amount = asked.amount_minor.to_string();
    let order = asked.order_id.as_deref().unwrap_or_default();
    let fingerprint = fingerprint(&["charge", &amount, &asked.currency, &asked.method, order]);
    let (same, calls, answer) = note_call(connection, &asked.key, &fingerprint).await?;
    if !same {
        return Ok(Charged::KeyReused);
    }
    if let Some(body) = answer {
        return Ok(Charged::Answer { body, first_call: false });
    }
    let decline_code = match asked.method.as_str() {
        "pm_sandbox_flaky" if calls <= FLAKY_FAILURES => return Ok(Charged::OutOfOrder),
        "pm_card_visa" | "pm_sandbox_slow" | "pm_sandbox_timeout" | "pm_sandbox_flaky" => None,
        "pm_card_chargeDeclined" => Some("card_declined"),
        "pm_card_chargeDeclinedInsufficientFunds" => Some("insufficient_funds"),
        _ => Some("invalid_payment_method"),
    };
    let body = to_json(&ChargeView {
        object: "charge",
        id: id.clone(),
        status: if decline_code.is_none() { "captured" } else { "declined" },
        decline_code,
        idempotency_key: &asked.key,
        amount_minor: asked.amount_minor,
        currency: &asked.currency,
        order_id: asked.order_id.as_deref(),
        created_at: at,
    })?;
    if decline_code.is_none() {
        sqlx::query(
            "INSERT INTO ledger (id, type, idempotency_key, charge, amount_minor, currency, order_id, created_at)
             VALUES (?1, 'charge', ?2, ?1, ?3, ?4, ?5, ?6)",
        )
        .bind(&id)
        .bind(&asked.key)
        .bind(asked.amount_minor)
        .bind(&asked.currency)
        .bind(&asked.order_id)
        .bind(at.as_millisecond())
        .execute(&mut *connection)
        .await?;
    }
    keep_answer(connection, &asked.key, &body).await?;
    Ok(Charged::Answer { body, first_call: calls == 1 })
}

struct RefundAsked {
    id: String,
    key: String,
    charge: String,
    amount_minor: i64,
    order_id: Option<String>,
    at: Timestamp,
}

async fn refund(connection: &mut SqliteConnection, asked: RefundAsked) -> Result<Refunded, SandboxError> {
    let fingerprint = fingerprint(&["refund", &asked.charge, &asked.amount_minor.to_string()]);
    let (same, _, answer) = note_call(connection, &asked.key, &fingerprint).await?;
    if !same {
        return Ok(Refunded::KeyReused);
    }
    if let Some(body) = answer {
        return Ok(Refunded::Answer(body));
    }
    let charge: Option<(String, i64)> = sqlx::query_as(
        "SELECT currency, amount_minor - (SELECT coalesce(sum(amount_minor), 0) FROM ledger
                                          WHERE charge = ?1 AND type = 'refund')
         FROM ledger WHERE id = ?1 AND type = 'charge'",
    )
    .bind(&asked.charge)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((currency, left_minor)) = charge else { return Ok(Refunded::NoSuchCharge) };
    if asked.amount_minor > left_minor {
        return Ok(Refunded::TooMuch);
    }
    sqlx::query(
        "INSERT INTO ledger (id, type, idempotency_key, charge, amount_minor, currency, order_id, created_at)
         VALUES (?, 'refund', ?, ?, ?, ?, ?, ?)",
    )
    .bind(&asked.id)
    .bind(&asked.key)
    .bind(&asked.charge)
    .bind(asked.amount_minor)
    .bind(&currency)
    .bind(&asked.order_id)
    .bind(asked.at.as_millisecond())
    .execute(&mut *connection)
    .await?;
    let body = serde_json::json!({
        "object": "refund", "id": asked.id, "charge": asked.charge, "idempotency_key": asked.key,
        "amount_minor": asked.amount_minor, "currency": currency, "created_at": asked.at,
    })
    .to_string();
    keep_answer(connection, &asked.key, &body).await?;
    Ok(Refunded::Answer(body))
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

fn to_json<T: Serialize>(value: &T) -> Result<String, SandboxError> {
    serde_json::to_string(value).map_err(|error| SandboxError::Sql(sqlx::Error::Encode(error.into())))
}
