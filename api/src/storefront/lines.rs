//! Lines of carts and orders, as pages show them.

use super::{
    money::money,
    pages::{AdjustmentItem, LineItem},
    texts::filled,
    views::{Adjustment, CartItem, OrderItem},
    visit::Visit,
};

/// The lines of a cart, each with what keeps it from being ordered.
pub(super) fn of_cart(visit: &Visit, items: Vec<CartItem>, currency: &str) -> Vec<LineItem> {
    let t = visit.texts();
    let line = |item: CartItem| {
        let CartItem { sku, name, quantity, line_total_minor, available } = item;
        let note = match name {
            None => t.not_sold.to_owned(),
            Some(_) if available <= 0 => t.sold_out.to_owned(),
            Some(_) if available < i64::from(quantity) => filled(t.left_of, available),
            Some(_) => String::new(),
        };
        let name = name.unwrap_or_else(|| sku.clone());
        let total = line_total_minor.map(|minor| money(minor, currency, visit.language)).unwrap_or_default();
        LineItem { label: filled(t.quantity_of, &name), sku, name, quantity, total, note }
    };
    items.into_iter().map(line).collect()
}

/// The lines of an order, at the prices of the time of ordering.
pub(super) fn of_order(visit: &Visit, items: Vec<OrderItem>, currency: &str) -> Vec<LineItem> {
    let line = |item: OrderItem| {
        let OrderItem { sku, name, quantity, total_minor } = item;
        let total = money(total_minor, currency, visit.language);
        LineItem { sku, name, quantity, total, label: String::new(), note: String::new() }
    };
    items.into_iter().map(line).collect()
}

/// Discounts, shipping and taxes, in the order in which the shop decided them.
pub(super) fn of_adjustments(
    visit: &Visit,
    adjustments: &[Adjustment],
    currency: &str,
) -> Vec<AdjustmentItem> {
    let item = |adjustment: &Adjustment| AdjustmentItem {
        label: adjustment.label.clone(),
        amount: money(adjustment.amount_minor, currency, visit.language),
    };
    adjustments.iter().map(item).collect()
}
