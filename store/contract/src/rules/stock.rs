//! Stock rows, as transactions read and change them.

use std::collections::BTreeMap;

use super::Damage;
use crate::domain::Order;

/// A product's stock after a change, with the product fields that a new order needs.
pub struct Stock {
    pub sku: String,
    pub name: String,
    pub price_minor: i64,
    pub on_hand: i64,
    pub reserved: i64,
    pub low_stock_at: i64,
    pub event_sequence: u64,
}

impl Stock {
    /// Whether taking `quantity` units crossed the threshold.
    pub fn fell_low(&self, quantity: i64) -> bool {
        let available = self.on_hand - self.reserved;
        available <= self.low_stock_at && available + quantity > self.low_stock_at
    }
}

/// Units per sku. A map, so that a sku named by two lines is reserved once and in full.
pub type Wanted<'a> = BTreeMap<&'a str, i64>;

pub fn wanted<'a>(lines: impl IntoIterator<Item = (&'a str, u32)>) -> Wanted<'a> {
    let mut wanted = Wanted::new();
    for (sku, quantity) in lines {
        *wanted.entry(sku).or_default() += i64::from(quantity);
    }
    wanted
}

/// Units per sku of an order.
pub fn of_order(order: &Order) -> Wanted<'_> {
    wanted(order.lines.iter().map(|line| (line.sku.as_str(), line.quantity)))
}

/// Fails when a change did not find every product of the order: products are never deleted.
pub fn expect_all(order: &Order, wanted: &Wanted<'_>, found: usize) -> Result<(), Damage> {
    if found == wanted.len() {
        return Ok(());
    }
    Err(Damage(format!("order {}: found {found} of {} products", order.id, wanted.len())))
}
