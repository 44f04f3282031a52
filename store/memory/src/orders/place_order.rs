//! Placing an order in memory: all checks come before the first write, so a rejection has nothing to undo.

use std::{collections::BTreeMap, slice};

use base::Ambient;
use store::{
    domain::{Currency, MerchantId},
    order_view::OrderView,
    orders::{NewOrder, PlaceOutcome},
    rules::{
        Damage,
        messages::Messages,
        place_order,
        reservations::of_lines,
        stock::{Stock, Wanted, wanted},
    },
};

use super::state::{IdempotencyRow, OrdersState};

pub(super) fn place(
    state: &mut OrdersState,
    ambient: &Ambient,
    new: &NewOrder,
) -> Result<PlaceOutcome, Damage> {
    let key = (new.merchant, new.idempotency.key.clone());
    if let Some(known) = state.idempotency.get(&key) {
        return Ok(place_order::replay(
            &new.idempotency,
            &known.fingerprint,
            known.order,
            known.body.clone(),
        ));
    }
    let wanted = wanted(new.lines.iter().map(|line| (line.sku.as_str(), line.quantity)));
    let cart = new.reservation.map(|cart| (new.merchant, cart));
    let taken = cart.and_then(|cart| state.reservations.get(&cart)).map(|row| row.lines.clone());
    let taken = taken.unwrap_or_default();
    let own = of_lines(&taken);
    let reserved = reservable(state, (new.merchant, new.currency), &wanted, &own);
    if reserved.len() < wanted.len() || wanted.is_empty() {
        return place_order::refuse(new, &reserved, &known(state, new.merchant, &wanted, &own));
    }
    let order = match place_order::assemble(new, &reserved) {
        Ok(order) => order,
        Err(answer) => return Ok(answer),
    };
    for (sku, quantity) in &own {
        state.change_product(new.merchant, sku, new.at, |row| row.product.reserved -= quantity)?;
    }
    for stock in &reserved {
        state.change_product(new.merchant, &stock.sku, new.at, |row| {
            row.product.reserved = stock.reserved;
            row.event_sequence = stock.event_sequence;
        })?;
    }
    if let Some(cart) = cart {
        state.reservations.remove(&cart);
    }
    let body = OrderView::of_accepted(&order, new.estimated_fulfilment_at);
    state.insert_order(order.clone());
    let (fingerprint, created_at) = (new.idempotency.fingerprint, new.at);
    state
        .idempotency
        .insert(key, IdempotencyRow { fingerprint, order: new.id, body: body.clone(), created_at });
    let mut messages = Messages::new(ambient, new.at);
    messages.placed(slice::from_ref(&order), &reserved, &wanted);
    state.tell(messages)?;
    Ok(PlaceOutcome::Placed { order: Box::new(order), body })
}

/// Stock after the reservation, of each product that has enough units; `own` are units that are reserved for the same
/// cart and are released first.
pub(super) fn reservable(
    state: &OrdersState,
    (merchant, currency): (MerchantId, Currency),
    wanted: &Wanted<'_>,
    own: &Wanted<'_>,
) -> Vec<Stock> {
    let reserve = |(sku, quantity): (&&str, &i64)| {
        let row = state.products.get(&(merchant, (*sku).to_owned()))?;
        let mut stock = row.stock();
        stock.reserved -= own.get(sku).copied().unwrap_or(0);
        if row.product.currency != currency || stock.on_hand - stock.reserved < *quantity {
            return None;
        }
        stock.reserved += quantity;
        stock.event_sequence += u64::from(stock.fell_low(*quantity));
        Some(stock)
    };
    wanted.iter().filter_map(reserve).collect()
}

/// Currency and available units of the products that exist, with `own` released.
pub(super) fn known(
    state: &OrdersState,
    merchant: MerchantId,
    wanted: &Wanted<'_>,
    own: &Wanted<'_>,
) -> BTreeMap<String, (Currency, i64)> {
    let look = |sku: &&str| {
        let row = state.products.get(&(merchant, (*sku).to_owned()))?;
        let available = row.product.available() + own.get(sku).copied().unwrap_or(0);
        Some(((*sku).to_owned(), (row.product.currency, available)))
    };
    wanted.keys().filter_map(look).collect()
}
