//! Records of many orders, read by one statement for each kind of rows.

use base::Timestamp;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use store::{
    audit::{OrderMoney, OrderRecords, RECORDS_MAX},
    domain::{Order, OrderId},
    rules::{columns::Columns, records::RecordsPage, rows, transitions::asked_by},
};

use super::{
    fault::{Result, SqliteFault, to_json},
    order_row,
};

/// A statement over the orders whose ids are in the JSON array of the first argument; the second is its limit.
macro_rules! of_orders {
    ($rows:literal, $and:literal) => {
        concat!($rows, " WHERE order_id IN (SELECT value FROM json_each(?1))", $and, " LIMIT ?2")
    };
}

const ORDERS: &str = "SELECT * FROM orders WHERE id IN (SELECT value FROM json_each(?1))";
pub(super) const STORED: &str = "SELECT id FROM orders WHERE id IN (SELECT value FROM json_each(?1))";
pub(super) const STATUSES: &str =
    "SELECT id, status FROM orders WHERE id IN (SELECT value FROM json_each(?1))";
const REFUNDS: &str = of_orders!("SELECT * FROM refunds", "");
const MAILS: &str = of_orders!("SELECT * FROM mails", "");
const ATTEMPTS: &str = of_orders!("SELECT * FROM webhook_attempts", "");
// The indexes are named because the planner may instead scan all unsent messages, or the whole log.
const EVENTS: &str = of_orders!("SELECT * FROM outbox INDEXED BY outbox_by_order", " AND sequence > 0");
const COMMANDS: &str = of_orders!("SELECT * FROM outbox INDEXED BY outbox_commands", " AND sequence IS NULL");
#[cfg(test)]
pub(super) const ALL: [&str; 8] = [ORDERS, STORED, STATUSES, REFUNDS, MAILS, ATTEMPTS, EVENTS, COMMANDS];

/// See [`Audit::order_records`](store::audit::Audit::order_records).
pub(super) async fn read(c: &mut SqliteConnection, orders: &[OrderId]) -> Result<Option<Vec<OrderRecords>>> {
    let ids = to_json(orders)?;
    let found = sqlx::query(ORDERS).bind(&ids).fetch_all(&mut *c).await?;
    let mut page = RecordsPage::new(found.iter().map(order).collect::<Result<_>>()?);
    page.add(list(c, REFUNDS, &ids, rows::order_refund).await?, |of, refund| of.money.refunds.push(refund));
    page.add(list(c, MAILS, &ids, rows::mail).await?, |of, mail| of.mails.push(mail));
    let events = list(c, EVENTS, &ids, |row| Ok((rows::event(row)?, unsent_since(row)?))).await?;
    page.add(events, |of, (event, unsent)| {
        of.events.push(event);
        note_unsent(&mut of.money, unsent);
    });
    let commands =
        list(c, COMMANDS, &ids, |row| Ok((rows::command::<SqliteFault>(row), unsent_since(row)?))).await?;
    page.add(commands, |of, (command, unsent)| {
        asked_by(&mut of.money.refunds, [command]);
        note_unsent(&mut of.money, unsent);
    });
    page.add(list(c, ATTEMPTS, &ids, rows::attempt).await?, |of, attempt| of.attempts.push(attempt));
    Ok(RecordsPage::join([page], orders))
}

/// The rows of one kind, each with its order.
async fn list<T>(
    c: &mut SqliteConnection,
    sql: &'static str,
    ids: &str,
    read: impl Fn(&SqliteRow) -> Result<T>,
) -> Result<Vec<(OrderId, T)>> {
    let limit = i64::try_from(RECORDS_MAX + 1).unwrap_or(i64::MAX);
    let rows = sqlx::query(sql).bind(ids).bind(limit).fetch_all(c).await?;
    rows.iter().map(|row| Ok((row.id("order_id", OrderId)?, read(row)?))).collect()
}

fn order(row: &SqliteRow) -> Result<(Order, OrderMoney)> {
    let settlements = row.json_if_any("settlements")?.unwrap_or_default();
    let money =
        OrderMoney { capture: rows::capture(row)?, refunds: Vec::new(), unsent_since: None, settlements };
    Ok((order_row::order(row)?, money))
}

/// The time of a message that is not sent.
fn unsent_since(row: &SqliteRow) -> Result<Option<Timestamp>> {
    if row.integer_if_any("sent_at")?.is_some() { Ok(None) } else { row.time_if_any("at") }
}

fn note_unsent(money: &mut OrderMoney, at: Option<Timestamp>) {
    money.unsent_since = money.unsent_since.into_iter().chain(at).min();
}
