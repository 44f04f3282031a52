//! Records of many orders, read by one statement for each kind of rows.

use base::{ids::Uuid, postgres::Database};
use sqlx::postgres::PgRow;
use store::{
    audit::{OrderMoney, RECORDS_MAX},
    domain::{Order, OrderId},
    rules::{columns::Columns, records::RecordsPage, rows, transitions::asked_by},
};

use super::{
    fault::PostgresFault,
    order_row::{self, columns},
    row::column,
};
use crate::partitions::earliest_of;

/// A statement with one lookup for each order: the orders are the first argument, the lower bounds of their messages'
/// ids the second, its limit the third. `order_id = ANY` became a scan through a whole index, in a plan made while the
/// tables were empty.
macro_rules! of_orders {
    ($columns:literal, $table:literal, $and:literal) => {
        concat!(
            "SELECT found.* FROM unnest($1::uuid[], $2::uuid[]) AS wanted (id, earliest) CROSS JOIN LATERAL (SELECT ",
            $columns,
            " FROM ",
            $table,
            " WHERE order_id = wanted.id",
            $and,
            " OFFSET 0) AS found LIMIT $3"
        )
    };
}

// The subject of an order's messages is the order's id.
pub(super) const ORDERS: &str = concat!(
    "SELECT found.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (SELECT ",
    columns!(),
    ", payment_id, provider_reference, settlements::text AS settlements,
        (SELECT min(u.at) FROM outbox_unsent AS u WHERE u.subject = wanted.id) AS unsent_since
    FROM orders WHERE orders.id = wanted.id OFFSET 0) AS found"
);
pub(super) const STORED: &str = "
    SELECT found.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
        SELECT id, merchant_id FROM orders WHERE orders.id = wanted.id OFFSET 0) AS found";
pub(super) const STATUSES: &str = "
    SELECT found.* FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
        SELECT id, status FROM orders WHERE orders.id = wanted.id OFFSET 0) AS found";
pub(super) const REFUNDS: &str =
    of_orders!("order_id, id, amount_minor, requested_at, recorded_at, failed_at", "refunds", "");
pub(super) const MAILS: &str = of_orders!("order_id, template, message_id, sent_at", "mails", "");
pub(super) const EVENTS: &str = of_orders!(
    "outbox.id, merchant_id, kind, order_id, sequence, at, data::text AS data, trace",
    "outbox",
    " AND order_id IS NOT NULL AND sequence > 0 AND outbox.id >= wanted.earliest ORDER BY sequence"
);
pub(super) const COMMANDS: &str = of_orders!(
    "order_id, outbox.id, data::text AS data",
    "outbox",
    " AND order_id IS NOT NULL AND sequence IS NULL AND outbox.id >= wanted.earliest"
);
pub(super) const ATTEMPTS: &str = of_orders!(
    "endpoint_id, event_id, attempt, at, order_id, duration_micros, status::bigint AS status, error",
    "webhook_attempts",
    " AND order_id IS NOT NULL AND event_id >= wanted.earliest"
);

/// The records of those of the orders that are in this database.
pub(super) async fn read(database: Database, ids: Vec<Uuid>) -> Result<RecordsPage, PostgresFault> {
    let found = database.rows(sqlx::query(ORDERS).bind(ids.clone())).await?;
    let mut page = RecordsPage::new(found.iter().map(order).collect::<Result<_, PostgresFault>>()?);
    let refunds = list(&database, REFUNDS, &ids, rows::order_refund).await?;
    page.add(refunds, |of, refund| of.money.refunds.push(refund));
    if page.has_refunds() {
        let commands = list(&database, COMMANDS, &ids, |row| Ok(rows::command::<PostgresFault>(row))).await?;
        page.add(commands, |of, command| asked_by(&mut of.money.refunds, [command]));
    }
    page.add(list(&database, MAILS, &ids, rows::mail).await?, |of, mail| of.mails.push(mail));
    page.add(list(&database, EVENTS, &ids, rows::event).await?, |of, event| of.events.push(event));
    let attempts = list(&database, ATTEMPTS, &ids, rows::attempt).await?;
    page.add(attempts, |of, attempt| of.attempts.push(attempt));
    Ok(page)
}

/// The rows of one kind, each with its order.
async fn list<T>(
    database: &Database,
    sql: &'static str,
    ids: &[Uuid],
    read: impl Fn(&PgRow) -> Result<T, PostgresFault>,
) -> Result<Vec<(OrderId, T)>, PostgresFault> {
    let limit = i64::try_from(RECORDS_MAX + 1).unwrap_or(i64::MAX);
    let earliest = column(ids, |id| earliest_of(OrderId(*id)));
    let rows = database.rows(sqlx::query(sql).bind(ids.to_vec()).bind(earliest).bind(limit)).await?;
    rows.iter().map(|row| Ok((row.id("order_id", OrderId)?, read(row)?))).collect()
}

fn order(row: &PgRow) -> Result<(Order, OrderMoney), PostgresFault> {
    let (capture, unsent_since) = (rows::capture(row)?, row.time_if_any("unsent_since")?);
    let settlements = row.json_if_any("settlements")?.unwrap_or_default();
    let money = OrderMoney { capture, refunds: Vec::new(), unsent_since, settlements };
    Ok((order_row::order(row)?, money))
}
