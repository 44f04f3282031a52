//! Order placement: the transaction that every checkout waits for.
//!
//! Guarantees: four round trips for accepted orders, whatever the number of lines and orders: begin; reserve (guarded
//! by stock, currency and the idempotency keys at once); orders, idempotency records and messages by one statement;
//! commit. A product is locked during the last two. Of two concurrent requests with one key, the second waits at the
//! key's index, is rolled back, and finds the record when it is repeated. Only after a rejection is its cause read.
//! Where orders take over [reservations](mod@super::reservations) of their carts, two round trips come first.
//!
//! The orders that share a transaction are chosen in [`super::group_commit`].

use std::slice;

use sqlx::postgres::PgRow;
use store::{
    domain::{Order, OrderId},
    order_view::OrderView,
    orders::{IdempotencyKey, NewOrder, PlaceOutcome},
    rules::{
        Damage,
        columns::Columns,
        messages::Messages,
        place_order,
        stock::{Stock, Wanted, wanted},
    },
};

use super::{
    fault::Result,
    outbox_insert::{self, numbered_messages},
    reservations,
    row::{column, get, to_json},
    stock,
    timestamps::Moment,
    transaction::Unit,
};

// Keys in one order everywhere, so that two batches with the same keys do not deadlock.
pub(super) const STORE: &str = concat!(
    "WITH placed AS MATERIALIZED (
        SELECT * FROM unnest($12::uuid[], $13::bigint[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
            $19::text[], $20::text[], $21::text[], $22::bytea[], $23::text[], $24::uuid[], $25::bytea[],
            $26::timestamptz[], $27::text[])
        AS given (id, total_minor, lines, customer_email, customer_name, payment_method, shipping_address, reference,
            trace, key, fingerprint, body, customer_id, token_hash, token_expires_at, adjustments)),
    stored AS (
        INSERT INTO orders (id, merchant_id, status, currency, total_minor, lines, customer_email, customer_name,
            payment_method, shipping_address, reference, event_sequence, trace, created_at, updated_at, customer_id,
            token_hash, token_expires_at, adjustments)
        SELECT id, $10, 'pending', $11, total_minor, lines::json, customer_email, customer_name, payment_method,
            shipping_address::json, reference, 1, trace, $1, $1, customer_id, token_hash, token_expires_at,
            adjustments::json FROM placed),
    answered AS (
        INSERT INTO idempotency_keys (merchant_id, key, fingerprint, order_id, body, created_at)
        SELECT $10, key, fingerprint, id, body, $1 FROM placed ORDER BY key COLLATE \"C\"),
    ",
    numbered_messages!()
);
pub(super) const RECORDED: &str =
    "SELECT fingerprint, order_id, body FROM idempotency_keys WHERE merchant_id = $1 AND key = $2";

/// Places the order; any result but [`PlaceOutcome::Placed`] changes nothing.
pub(super) async fn place(unit: &mut Unit, new: &NewOrder) -> Result<PlaceOutcome> {
    let orders = slice::from_ref(new);
    let mut wanted = wanted(lines(orders));
    reservations::take_over(unit, orders, &wanted).await?;
    let mut reserved = stock::reserve(unit, orders, &wanted).await?;
    if reserved.len() < wanted.len() {
        if let Some(answer) = why_not(unit, new, &reserved).await? {
            unit.abandon();
            return Ok(answer);
        }
        wanted.retain(|sku, _| reserved.iter().all(|stock| stock.sku != *sku));
        reserved.extend(stock::reserve(unit, orders, &wanted).await?);
    }
    match store_reserved(unit, orders, &reserved).await? {
        Attempt::Placed(placed) => {
            placed.into_iter().next().ok_or_else(|| Damage("no order".to_owned()).into())
        }
        Attempt::Refused(answer) => Ok(answer),
        // Only by a key that was stored meanwhile.
        Attempt::Short => why_not(unit, new, &reserved)
            .await?
            .ok_or_else(|| Damage(format!("order {}: no line was rejected", new.id)).into()),
    }
}

/// Places orders of one merchant, in one currency, at one time, each with a key of its own. `None` when one of them
/// cannot be placed: then none is.
pub(super) async fn place_all(unit: &mut Unit, new: &[NewOrder]) -> Result<Option<Vec<PlaceOutcome>>> {
    let wanted = wanted(lines(new));
    reservations::take_over(unit, new, &wanted).await?;
    let reserved = stock::reserve(unit, new, &wanted).await?;
    let attempt = store_reserved(unit, new, &reserved).await?;
    Ok(if let Attempt::Placed(placed) = attempt { Some(placed) } else { None })
}

/// The result of an attempt. All variants but the first leave the unit abandoned.
enum Attempt {
    /// All orders are placed, in the order given.
    Placed(Vec<PlaceOutcome>),
    /// Not every product could be reserved, or a key is taken.
    Short,
    Refused(PlaceOutcome),
}

async fn store_reserved(unit: &mut Unit, new: &[NewOrder], reserved: &[Stock]) -> Result<Attempt> {
    let wanted = wanted(lines(new));
    if reserved.len() < wanted.len() || new.iter().any(|new| new.lines.is_empty()) {
        unit.abandon();
        return Ok(Attempt::Short);
    }
    let orders: Vec<Order> = match new.iter().map(|new| place_order::assemble(new, reserved)).collect() {
        Ok(orders) => orders,
        Err(answer) => {
            unit.abandon();
            return Ok(Attempt::Refused(answer));
        }
    };
    let bodies = orders.iter().zip(new);
    let bodies = bodies.map(|(order, new)| OrderView::of_accepted(order, new.estimated_fulfilment_at));
    let bodies: Vec<String> = bodies.collect();
    store(unit, new, &orders, &bodies, reserved, &wanted).await?;
    let placed = orders.into_iter().zip(bodies);
    Ok(Attempt::Placed(
        placed.map(|(order, body)| PlaceOutcome::Placed { order: Box::new(order), body }).collect(),
    ))
}

fn lines(new: &[NewOrder]) -> impl Iterator<Item = (&str, u32)> {
    new.iter().flat_map(|new| &new.lines).map(|line| (line.sku.as_str(), line.quantity))
}

async fn store(
    unit: &mut Unit,
    new: &[NewOrder],
    orders: &[Order],
    bodies: &[String],
    reserved: &[Stock],
    wanted: &Wanted<'_>,
) -> Result<()> {
    let Some(first) = orders.first() else { return Ok(()) };
    let mut messages = Messages::new(&unit.ambient, first.created_at);
    messages.placed(orders, reserved, wanted);
    let lines: Result<Vec<_>, _> = orders.iter().map(|order| to_json(&order.lines)).collect();
    let address = |order: &Order| order.shipping_address.as_ref().map(to_json).transpose();
    let addresses: Result<Vec<_>, _> = orders.iter().map(address).collect();
    let adjusted = |order: &Order| {
        let has_any = !order.adjustments.is_empty();
        has_any.then(|| to_json(&order.adjustments)).transpose()
    };
    let adjustments: Result<Vec<_>, _> = orders.iter().map(adjusted).collect();
    let query = outbox_insert::bind(sqlx::query(STORE), &messages)?
        .bind(first.merchant.0)
        .bind(first.currency.as_str())
        .bind(column(orders, |order| order.id.0))
        .bind(column(orders, |order| order.total_minor))
        .bind(lines?)
        .bind(column(orders, |order| order.customer.email.as_str()))
        .bind(column(orders, |order| order.customer.name.as_str()))
        .bind(column(orders, |order| order.payment_method.as_str()))
        .bind(addresses?)
        .bind(column(orders, |order| order.reference.as_deref()))
        .bind(column(orders, |order| order.trace.as_ref().map(ToString::to_string)))
        .bind(column(new, |new| new.idempotency.key.as_str()))
        .bind(column(new, |new| &new.idempotency.fingerprint[..]))
        .bind(bodies)
        .bind(column(orders, |order| order.account.map(|account| account.0)))
        .bind(column(orders, |order| order.token.as_ref().map(|token| &token.hash[..])))
        .bind(column(orders, |order| order.token.map(|token| Moment(token.expires_at))))
        .bind(adjustments?);
    unit.run(query).await?;
    unit.wake_relays();
    Ok(())
}

/// The answer to an order of which only `reserved` could be reserved. `None` where the rest can be by now: a
/// reservation that waits for a product's lock decides on the stock from before the wait, and only a later statement
/// sees units that were released meanwhile.
async fn why_not(unit: &mut Unit, new: &NewOrder, reserved: &[Stock]) -> Result<Option<PlaceOutcome>> {
    let query = sqlx::query(RECORDED).bind(new.merchant.0).bind(&new.idempotency.key);
    if let Some(row) = unit.row(query).await? {
        return recorded(&row, &new.idempotency).map(Some);
    }
    let wanted = wanted(lines(slice::from_ref(new)));
    let known = stock::look(unit, new.merchant, &wanted).await?;
    let is_enough = |(sku, quantity): (&&str, &i64)| {
        let is_reserved = reserved.iter().any(|stock| stock.sku == **sku);
        is_reserved
            || known
                .get(*sku)
                .is_some_and(|(currency, available)| *currency == new.currency && available >= quantity)
    };
    if !wanted.is_empty() && wanted.iter().all(is_enough) {
        return Ok(None);
    }
    Ok(Some(place_order::refuse(new, reserved, &known)?))
}

/// The answer by the stored record of an idempotency key.
pub(super) fn recorded(row: &PgRow, key: &IdempotencyKey) -> Result<PlaceOutcome> {
    let fingerprint: &[u8] = get(row, "fingerprint")?;
    Ok(place_order::replay(key, fingerprint, row.id("order_id", OrderId)?, row.text("body")?))
}
