//! Placing an order: the transaction every checkout waits for.
//!
//! Guarantees: four statements when all goes well, however many lines: reserve (guarded by stock, currency and
//! the idempotency key at once), order, idempotency record, outbox. Why something was refused is only asked
//! when something was; the unit then ends in an error, which rolls the reservations back.

use std::collections::BTreeMap;

use base::Ambient;
use sqlx::SqliteConnection;

use super::{
    emit::Messages,
    fault::{Fault, get, parsed, to_json},
    stock::{self, Stock, Wanted},
};
use crate::{
    domain::{EventKind, Order, OrderLine, OrderStatus, line_total, sum},
    event_data,
    orders::{NewOrder, Placement, Refusal},
};

/// Why the unit ended without an order.
pub(super) enum NotPlaced {
    /// By decision; this is the answer.
    Answer(Placement),
    /// By failure.
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for NotPlaced {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// Places the order, answers it with its rendered body.
pub(super) async fn place(
    c: &mut SqliteConnection,
    ambient: &Ambient,
    new: NewOrder,
) -> Result<(Order, String), NotPlaced> {
    let wanted = stock::wanted(new.lines.iter().map(|line| (line.sku.as_str(), line.quantity)));
    let reserved = stock::reserve(c, &new, &wanted).await?;
    if reserved.len() < wanted.len() || wanted.is_empty() {
        return Err(why_not(c, &new, &wanted, &reserved).await?);
    }
    let order = assemble(&new, &reserved).ok_or(NotPlaced::Answer(too_large()))?;
    let body = (new.render)(&order);
    insert_order(c, &order).await?;
    insert_key(c, &new, &body).await?;
    let mut messages = Messages::new(ambient, new.at);
    messages.order_events(&order, [(EventKind::OrderPlaced, event_data::order(&order))]);
    for stock in &reserved {
        if stock.fell_low(wanted.get(stock.sku.as_str()).copied().unwrap_or(0)) {
            let sequence = stock.event_sequence;
            messages.inventory(new.merchant, stock, EventKind::InventoryLow, sequence, new.trace);
        }
    }
    messages.write(c).await?;
    Ok((order, body))
}

fn too_large() -> Placement {
    Placement::Refused(vec![Refusal::TotalTooLarge])
}

async fn why_not(
    c: &mut SqliteConnection,
    new: &NewOrder,
    wanted: &Wanted<'_>,
    reserved: &[Stock],
) -> Result<NotPlaced, Fault> {
    if let Some(answer) = recorded(c, new).await? {
        return Ok(NotPlaced::Answer(answer));
    }
    let known = stock::look(c, new.merchant, wanted).await?;
    let refusals: Vec<_> = new
        .lines
        .iter()
        .enumerate()
        .filter(|(_, line)| reserved.iter().all(|stock| stock.sku != line.sku))
        .map(|(line, wanted)| match known.get(&wanted.sku) {
            None => Refusal::UnknownSku { line },
            Some((currency, _)) if *currency != new.currency => {
                Refusal::WrongCurrency { line, expected: *currency }
            }
            Some((_, available)) => Refusal::OutOfStock { line, available: *available },
        })
        .collect();
    if refusals.is_empty() {
        return Err(Fault::Damaged(format!("order {} was given no lines", new.id)));
    }
    Ok(NotPlaced::Answer(Placement::Refused(refusals)))
}

/// What the stored record of the key says, if there is one.
async fn recorded(c: &mut SqliteConnection, new: &NewOrder) -> Result<Option<Placement>, Fault> {
    let row = sqlx::query(
        "SELECT fingerprint, order_id, body FROM idempotency_keys WHERE merchant_id = ?1 AND key = ?2",
    )
    .bind(new.merchant.to_string())
    .bind(&new.idempotency.key)
    .fetch_optional(c)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if get::<&[u8]>(&row, "fingerprint")? != new.idempotency.fingerprint {
        return Ok(Some(Placement::KeyReused));
    }
    Ok(Some(Placement::Replayed { order: parsed(&row, "order_id")?, body: get(&row, "body")? }))
}

/// The order at the prices of now; `None` when an amount is too large.
fn assemble(new: &NewOrder, reserved: &[Stock]) -> Option<Order> {
    let products: BTreeMap<_, _> = reserved.iter().map(|stock| (stock.sku.as_str(), stock)).collect();
    let line = |line: &crate::orders::NewLine| {
        let product = products.get(line.sku.as_str())?;
        Some(OrderLine {
            sku: line.sku.clone(),
            name: product.name.clone(),
            quantity: line.quantity,
            price_minor: product.price_minor,
            total_minor: line_total(product.price_minor, line.quantity)?,
        })
    };
    let lines: Vec<_> = new.lines.iter().map(line).collect::<Option<_>>()?;
    Some(Order {
        id: new.id,
        merchant: new.merchant,
        status: OrderStatus::Pending,
        currency: new.currency,
        total_minor: sum(lines.iter().map(|line| line.total_minor))?,
        refunded_minor: 0,
        lines,
        customer: new.customer.clone(),
        payment_method: new.payment_method.clone(),
        shipping_address: new.shipping_address.clone(),
        reference: new.reference.clone(),
        status_reason: None,
        shipment: None,
        event_sequence: 1,
        trace: new.trace,
        created_at: new.at,
        updated_at: new.at,
    })
}

async fn insert_order(c: &mut SqliteConnection, order: &Order) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO orders (merchant_id, id, status, currency, total_minor, lines, customer_email, customer_name,
             payment_method, shipping_address, reference, event_sequence, trace, created_at, updated_at)
         VALUES (?1, ?2, 'pending', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1, ?11, ?12, ?12)",
    )
    .bind(order.merchant.to_string())
    .bind(order.id.to_string())
    .bind(order.currency.as_str())
    .bind(order.total_minor)
    .bind(to_json(&order.lines)?)
    .bind(&order.customer.email)
    .bind(&order.customer.name)
    .bind(&order.payment_method)
    .bind(order.shipping_address.as_ref().map(to_json).transpose()?)
    .bind(&order.reference)
    .bind(order.trace.map(|trace| trace.to_string()))
    .bind(order.created_at.as_millisecond())
    .execute(c)
    .await?;
    Ok(())
}

async fn insert_key(c: &mut SqliteConnection, new: &NewOrder, body: &str) -> Result<(), Fault> {
    sqlx::query(
        "INSERT INTO idempotency_keys (merchant_id, key, fingerprint, order_id, body, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(new.merchant.to_string())
    .bind(&new.idempotency.key)
    .bind(&new.idempotency.fingerprint[..])
    .bind(new.id.to_string())
    .bind(body)
    .bind(new.at.as_millisecond())
    .execute(c)
    .await?;
    Ok(())
}
