//! Placing an order: the transaction every checkout waits for.
//!
//! Guarantees: four round trips when all goes well, however many lines: begin; reserve (guarded by stock, currency and
//! the idempotency key at once); order, idempotency record and messages by one statement; commit. A product is locked
//! for the last two of them. Two requests with one key at once: the second waits at the key's index, breaks off, and finds
//! the record when it is repeated. Why something was refused is only asked when something was.

use sqlx::postgres::PgRow;

use super::{
    emit::{self, numbered_messages},
    fault::Fault,
    row::{get, id, to_json},
    stock,
    unit::Unit,
};
use crate::{
    domain::{Order, OrderId},
    engine::{
        messages::Messages,
        placing,
        stock::{Stock, Wanted, wanted},
    },
    orders::{NewOrder, Placement},
};

pub(super) const STORE: &str = concat!(
    "WITH stored AS (
        INSERT INTO orders (id, merchant_id, status, currency, total_minor, lines, customer_email, customer_name,
            payment_method, shipping_address, reference, event_sequence, trace, created_at, updated_at)
        VALUES ($10, $11, 'pending', $12, $13, $14::json, $15, $16, $17, $18::json, $19, 1, $20, $1, $1)),
    answered AS (
        INSERT INTO idempotency_keys (merchant_id, key, fingerprint, order_id, body, created_at)
        VALUES ($11, $21, $22, $10, $23, $1)),
    ",
    numbered_messages!()
);
pub(super) const RECORDED: &str =
    "SELECT fingerprint, order_id, body FROM idempotency_keys WHERE merchant_id = $1 AND key = $2";

/// Places the order; anything but [`Placement::Placed`] leaves no trace.
pub(super) async fn place(unit: &mut Unit, new: &NewOrder) -> Result<Placement, Fault> {
    let wanted = wanted(new.lines.iter().map(|line| (line.sku.as_str(), line.quantity)));
    let reserved = stock::reserve(unit, new, &wanted).await?;
    if reserved.len() < wanted.len() || wanted.is_empty() {
        unit.abandon();
        return why_not(unit, new, &wanted, &reserved).await;
    }
    let order = match placing::assemble(new, &reserved) {
        Ok(order) => order,
        Err(answer) => {
            unit.abandon();
            return Ok(answer);
        }
    };
    let body = (new.render)(&order);
    let ambient = unit.ambient.clone();
    let mut messages = Messages::new(&ambient, new.at);
    messages.placed(&order, &reserved, &wanted);
    store(unit, new, &order, &body, messages).await?;
    Ok(Placement::Placed { order: Box::new(order), body })
}

async fn store(
    unit: &mut Unit,
    new: &NewOrder,
    order: &Order,
    body: &str,
    messages: Messages<'_>,
) -> Result<(), Fault> {
    let query = emit::bind(sqlx::query(STORE), &messages)?
        .bind(order.id.0)
        .bind(order.merchant.0)
        .bind(order.currency.as_str())
        .bind(order.total_minor)
        .bind(to_json(&order.lines)?)
        .bind(&order.customer.email)
        .bind(&order.customer.name)
        .bind(&order.payment_method)
        .bind(order.shipping_address.as_ref().map(to_json).transpose()?)
        .bind(&order.reference)
        .bind(order.trace.map(|trace| trace.to_string()))
        .bind(&new.idempotency.key)
        .bind(&new.idempotency.fingerprint[..])
        .bind(body);
    unit.run(query).await?;
    Ok(())
}

async fn why_not(
    unit: &mut Unit,
    new: &NewOrder,
    wanted: &Wanted<'_>,
    reserved: &[Stock],
) -> Result<Placement, Fault> {
    let query = sqlx::query(RECORDED).bind(new.merchant.0).bind(&new.idempotency.key);
    if let Some(row) = unit.row(query).await? {
        return recorded(new, &row);
    }
    let known = stock::look(unit, new.merchant, wanted).await?;
    Ok(placing::refuse(new, reserved, &known)?)
}

fn recorded(new: &NewOrder, row: &PgRow) -> Result<Placement, Fault> {
    let fingerprint: &[u8] = get(row, "fingerprint")?;
    Ok(placing::replay(new, fingerprint, id(row, "order_id", OrderId)?, get(row, "body")?))
}
