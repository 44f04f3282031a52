//! The ledger behind the sandbox: one transaction per request, everything by idempotency key.

use base::{Timestamp, sqlite::WriteFailed};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::Inner;

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

/// A charge as asked for.
pub(super) struct ChargeAsked {
    pub(super) key: String,
    pub(super) amount_minor: i64,
    pub(super) currency: String,
    pub(super) method: String,
    pub(super) order_id: Option<String>,
}

/// What became of a charge.
pub(super) enum Charged {
    /// The charge, captured or declined, as JSON: now or, to the byte, as it was then.
    Answer { body: String, first_call: bool },
    /// The method asks for a failure this time.
    OutOfOrder,
    /// The key belongs to another request.
    KeyReused,
}

/// What became of a refund.
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

/// Which way money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryType {
    /// To the merchant.
    Charge,
    /// Back to the customer.
    Refund,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `ch_…` or `re_…`.
    pub id: String,
    /// Which way.
    pub r#type: EntryType,
    /// The key it was asked for with.
    pub idempotency_key: String,
    /// The charge itself, or the one a refund belongs to.
    pub reference: String,
    /// How much.
    pub amount_minor: i64,
    /// Of the amount.
    pub currency: String,
    /// What the caller said it was for.
    pub order_id: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// The ledger in a few numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Always `ledger_summary`.
    pub object: String,
    /// Captured charges.
    pub charges: i64,
    /// Refunds.
    pub refunds: i64,
    /// Orders with a charge.
    pub orders_charged: i64,
    /// Orders with more than one charge; anything but 0 is a defect of the caller.
    pub orders_charged_more_than_once: i64,
    /// Sums; amounts of different currencies do not add up.
    pub by_currency: Vec<CurrencySum>,
}

/// Sums of one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrencySum {
    /// Which one.
    pub currency: String,
    /// Captured.
    pub captured_minor: i64,
    /// Given back.
    pub refunded_minor: i64,
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

impl Inner {
    /// Charges, or repeats what was answered under the key.
    pub(super) async fn charge(&self, asked: ChargeAsked) -> Result<Charged, SandboxError> {
        let id = format!("ch_{}", self.ambient.uuid().simple());
        let at = self.ambient.now();
        self.database.write(move |c| Box::pin(charge(c, asked, id, at))).await
    }

    /// Gives back, or repeats what was answered under the key.
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

    /// The answer given to the charge with this key, as JSON.
    pub(super) async fn charge_by_key(&self, key: &str) -> Result<Option<String>, SandboxError> {
        let answer: Option<Option<String>> =
            sqlx::query_scalar("SELECT answer FROM requests WHERE idempotency_key = ?")
                .bind(key)
                .fetch_optional(self.database.readers())
                .await?;
        Ok(answer.flatten())
    }

    /// Entries oldest first, after an entry's id, of one order or all; and whether more follow.
    pub(super) async fn entries(
        &self,
        limit: u32,
        after: Option<&str>,
        order: Option<&str>,
    ) -> Result<(Vec<Entry>, bool), SandboxError> {
        // Two texts rather than `order_id = ? OR ? IS NULL`, which no index serves.
        let sql = if order.is_some() {
            "SELECT * FROM ledger WHERE position > coalesce((SELECT position FROM ledger WHERE id = ?1), 0)
             AND order_id = ?2 ORDER BY position LIMIT ?3"
        } else {
            "SELECT * FROM ledger WHERE position > coalesce((SELECT position FROM ledger WHERE id = ?1), 0)
             AND ?2 IS NULL ORDER BY position LIMIT ?3"
        };
        let rows = sqlx::query(sql)
            .bind(after)
            .bind(order)
            .bind(i64::from(limit) + 1)
            .fetch_all(self.database.readers())
            .await?;
        let mut entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = entries.len() > limit;
        entries.truncate(limit);
        Ok((entries, has_more))
    }

    /// Counts and sums over the whole ledger.
    pub(super) async fn summary(&self) -> Result<Summary, SandboxError> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM ledger WHERE type = 'charge') AS charges,
                    (SELECT count(*) FROM ledger WHERE type = 'refund') AS refunds,
                    count(*) AS orders, coalesce(sum(n > 1), 0) AS doubled
             FROM (SELECT count(*) AS n FROM ledger WHERE order_id IS NOT NULL AND type = 'charge'
                   GROUP BY order_id)",
        )
        .fetch_one(self.database.readers())
        .await?;
        let sums = sqlx::query(
            "SELECT currency, coalesce(sum(amount_minor) FILTER (WHERE type = 'charge'), 0) AS captured,
                    coalesce(sum(amount_minor) FILTER (WHERE type = 'refund'), 0) AS refunded
             FROM ledger GROUP BY currency ORDER BY currency",
        )
        .fetch_all(self.database.readers())
        .await?;
        let sum = |row: &SqliteRow| -> Result<CurrencySum, sqlx::Error> {
            Ok(CurrencySum {
                currency: row.try_get("currency")?,
                captured_minor: row.try_get("captured")?,
                refunded_minor: row.try_get("refunded")?,
            })
        };
        Ok(Summary {
            object: "ledger_summary".to_owned(),
            charges: row.try_get("charges")?,
            refunds: row.try_get("refunds")?,
            orders_charged: row.try_get("orders")?,
            orders_charged_more_than_once: row.try_get("doubled")?,
            by_currency: sums.iter().map(sum).collect::<Result<_, _>>()?,
        })
    }
}

fn entry(row: &SqliteRow) -> Result<Entry, sqlx::Error> {
    let r#type =
        if row.try_get::<&str, _>("type")? == "charge" { EntryType::Charge } else { EntryType::Refund };
    Ok(Entry {
        id: row.try_get("id")?,
        r#type,
        idempotency_key: row.try_get("idempotency_key")?,
        reference: row.try_get("charge")?,
        amount_minor: row.try_get("amount_minor")?,
        currency: row.try_get("currency")?,
        order_id: row.try_get("order_id")?,
        created_at: Timestamp::from_millisecond(row.try_get("created_at")?).unwrap_or_default(),
    })
}

/// Counts the call; says what is known of the key.
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

/// Of the parts, each with its length, so that no two requests share one.
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
