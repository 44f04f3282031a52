//! Rules of placing an order, applied between the statements of an engine.

use std::collections::BTreeMap;

use super::{Damage, stock::Stock};
use crate::{
    domain::{Currency, Order, OrderId, OrderLine, OrderStatus, Pricing, line_total, sum},
    orders::{IdempotencyKey, NewLine, NewOrder, PlaceOutcome, Refusal},
};

/// The order at the current prices, or the rejection when an amount is too large or the total not the expected one.
pub fn assemble(new: &NewOrder, reserved: &[Stock]) -> Result<Order, PlaceOutcome> {
    let too_large = || PlaceOutcome::Refused(vec![Refusal::TotalTooLarge]);
    let products: BTreeMap<_, _> = reserved.iter().map(|stock| (stock.sku.as_str(), stock)).collect();
    let line = |line: &NewLine| {
        let product = products.get(line.sku.as_str())?;
        Some(OrderLine {
            sku: line.sku.clone(),
            name: product.name.clone(),
            quantity: line.quantity,
            price_minor: product.price_minor,
            total_minor: line_total(product.price_minor, line.quantity)?,
        })
    };
    let lines: Vec<_> = new.lines.iter().map(line).collect::<Option<_>>().ok_or_else(too_large)?;
    let subtotal_minor = sum(lines.iter().map(|line| line.total_minor)).ok_or_else(too_large)?;
    let pricing = new.pricing.clone().unwrap_or(Pricing { subtotal_minor, adjustments: Vec::new() });
    if pricing.subtotal_minor != subtotal_minor {
        return Err(PlaceOutcome::Refused(vec![Refusal::Repriced]));
    }
    let total_minor = pricing.total_minor().ok_or_else(too_large)?;
    if new.expected_total_minor.is_some_and(|expected| expected != total_minor) {
        return Err(PlaceOutcome::Refused(vec![Refusal::PriceChanged { total_minor }]));
    }
    Ok(Order {
        id: new.id,
        merchant: new.merchant,
        status: OrderStatus::Pending,
        currency: new.currency,
        total_minor,
        refunded_minor: 0,
        lines,
        adjustments: pricing.adjustments,
        customer: new.customer.clone(),
        account: new.account,
        token: new.token,
        payment_method: new.payment_method.clone(),
        shipping_address: new.shipping_address.clone(),
        reference: new.reference.clone(),
        status_reason: None,
        shipment: None,
        event_sequence: 1,
        trace: new.trace.clone(),
        created_at: new.at,
        updated_at: new.at,
    })
}

/// Names every line that could not be reserved. `known`: currency and available units of the products that exist.
pub fn refuse(
    new: &NewOrder,
    reserved: &[Stock],
    known: &BTreeMap<String, (Currency, i64)>,
) -> Result<PlaceOutcome, Damage> {
    let refusals = refusals(&new.lines, new.currency, reserved, known);
    if refusals.is_empty() {
        return Err(Damage(format!("order {}: no line was rejected", new.id)));
    }
    Ok(PlaceOutcome::Refused(refusals))
}

/// A refusal for each line that could not be reserved, by its index.
pub fn refusals(
    lines: &[NewLine],
    currency: Currency,
    reserved: &[Stock],
    known: &BTreeMap<String, (Currency, i64)>,
) -> Vec<Refusal> {
    lines
        .iter()
        .enumerate()
        .filter(|(_, line)| reserved.iter().all(|stock| stock.sku != line.sku))
        .map(|(line, wanted)| match known.get(&wanted.sku) {
            None => Refusal::UnknownSku { line },
            Some((sold_in, _)) if *sold_in != currency => Refusal::WrongCurrency { line, expected: *sold_in },
            Some((_, available)) => Refusal::OutOfStock { line, available: *available },
        })
        .collect()
}

/// The answer to a request whose key has a stored record.
pub fn replay(key: &IdempotencyKey, fingerprint: &[u8], order: OrderId, body: String) -> PlaceOutcome {
    if fingerprint != key.fingerprint {
        return PlaceOutcome::KeyReused { order };
    }
    PlaceOutcome::Replayed { order, body }
}
