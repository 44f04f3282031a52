//! Queries of the sandbox ledger, for tests and audits that compare it with the shop's records.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row, sqlite::SqliteRow};

use super::{inner::SandboxInner, ledger::SandboxError};
use crate::provider::EntryKind;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Id of the entry: `ch_…` or `re_…`.
    pub id: String,
    pub r#type: EntryKind,
    pub idempotency_key: String,
    /// The charge itself, or the one a refund belongs to.
    pub reference: String,
    pub amount_minor: i64,
    pub currency: String,
    /// The order in the request's metadata.
    pub order_id: Option<String>,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Of<'a> {
    All,
    Order(&'a str),
    /// Orders, as a JSON array of their ids.
    Orders(&'a str),
    /// A charge and its refunds.
    Charge(&'a str),
}

/// The statement for a page of the entries that a filter leaves.
macro_rules! page {
    ($filter:literal) => {
        concat!(
            "SELECT * FROM ledger WHERE position > coalesce((SELECT position FROM ledger WHERE id = ?1), 0) AND ",
            $filter,
            " ORDER BY position LIMIT ?3"
        )
    };
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Always `ledger_summary`.
    pub object: String,
    pub charges: i64,
    pub refunds: i64,
    pub orders_charged: i64,
    /// Number of orders with more than one charge; anything but 0 is a defect of the caller.
    pub orders_charged_more_than_once: i64,
    pub by_currency: Vec<CurrencySum>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrencySum {
    pub currency: String,
    pub captured_minor: i64,
    pub refunded_minor: i64,
}

impl SandboxInner {
    /// The answer given to the charge with this key, as JSON.
    pub(super) async fn charge_by_key(&self, key: &str) -> Result<Option<String>, SandboxError> {
        let answer: Option<Option<String>> =
            sqlx::query_scalar("SELECT answer FROM requests WHERE idempotency_key = ?")
                .bind(key)
                .fetch_optional(self.database.readers())
                .await?;
        Ok(answer.flatten())
    }

    /// Entries oldest first, after an entry's id; and whether more follow.
    pub(super) async fn entries(
        &self,
        limit: u32,
        after: Option<&str>,
        of: Of<'_>,
    ) -> Result<(Vec<Entry>, bool), SandboxError> {
        // One statement per filter: no index serves `order_id = ? OR ? IS NULL`.
        let (sql, whose) = match of {
            Of::All => (page!("?2 IS NULL"), None),
            Of::Order(id) => (page!("order_id = ?2"), Some(id)),
            Of::Orders(ids) => (page!("order_id IN (SELECT value FROM json_each(?2))"), Some(ids)),
            Of::Charge(id) => (page!("charge = ?2"), Some(id)),
        };
        let rows = sqlx::query(sql)
            .bind(after)
            .bind(whose)
            .bind(i64::from(limit) + 1)
            .fetch_all(self.database.readers())
            .await?;
        let mut entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let has_more = entries.len() > limit;
        entries.truncate(limit);
        Ok((entries, has_more))
    }

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
        if row.try_get::<&str, _>("type")? == "charge" { EntryKind::Charge } else { EntryKind::Refund };
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
