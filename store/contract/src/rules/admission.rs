//! Rows of ended orders and of waiting rooms, and the kinds of events that end an order.

use super::{Damage, columns::Columns};
use crate::{
    admission::{EndedOrder, WaitingRoom},
    domain::{EventKind, MerchantId, OrderId},
};

/// Whether an event of this kind ends the work on its order: `Some(true)` when it was fulfilled.
pub fn ends_order(kind: EventKind) -> Option<bool> {
    match kind {
        EventKind::OrderFulfilled => Some(true),
        EventKind::PaymentFailed => Some(false),
        _ => None,
    }
}

/// An event of a kind that [`ends_order`].
pub fn ended_order<F: From<Damage>>(row: &impl Columns<F>) -> Result<EndedOrder, F> {
    let is_fulfilled = ends_order(row.parsed("kind")?).unwrap_or(false);
    Ok(EndedOrder { order: row.id("order_id", OrderId)?, at: row.time("at")?, is_fulfilled })
}

pub fn waiting_room<F: From<Damage>>(row: &impl Columns<F>) -> Result<WaitingRoom, F> {
    let key = row.bytes_if_any("key")?.unwrap_or_default();
    Ok(WaitingRoom {
        merchant: row.id("merchant_id", MerchantId)?,
        mode: row.json("mode")?,
        key: <[u8; 32]>::try_from(key).map_err(|error| Damage::column("key", error))?,
        taken: row.number("taken")?,
        progress: row.json("progress")?,
        version: row.number("version")?,
        stepped_at: row.time("stepped_at")?,
    })
}
