//! Records of many orders, put together from the rows of each kind.

use std::collections::HashMap;

use crate::{
    audit::{OrderMoney, OrderRecords, RECORDS_MAX},
    domain::{Order, OrderId},
};

/// The records of orders in one database.
pub struct RecordsPage {
    by_order: HashMap<OrderId, OrderRecords>,
    is_too_long: bool,
}

impl RecordsPage {
    /// Orders whose other rows are added next.
    pub fn new(orders: Vec<(Order, OrderMoney)>) -> Self {
        let records = |(order, money): (Order, OrderMoney)| {
            let records =
                OrderRecords { order, money, mails: Vec::new(), events: Vec::new(), attempts: Vec::new() };
            (records.order.id, records)
        };
        Self { by_order: orders.into_iter().map(records).collect(), is_too_long: false }
    }

    /// Adds the rows of one kind, each to its order. More than [`RECORDS_MAX`] of them are not all.
    pub fn add<T>(&mut self, rows: Vec<(OrderId, T)>, add: impl Fn(&mut OrderRecords, T)) {
        self.is_too_long |= rows.len() > RECORDS_MAX;
        for (order, row) in rows {
            if let Some(records) = self.by_order.get_mut(&order) {
                add(records, row);
            }
        }
    }

    pub fn has_refunds(&self) -> bool {
        self.by_order.values().any(|records| !records.money.refunds.is_empty())
    }

    /// The records in the sequence of `orders`; `None` if those of a page are not all.
    pub fn join(pages: impl IntoIterator<Item = Self>, orders: &[OrderId]) -> Option<Vec<OrderRecords>> {
        let mut found = HashMap::new();
        for page in pages {
            if page.is_too_long {
                return None;
            }
            found.extend(page.by_order);
        }
        Some(orders.iter().filter_map(|order| found.remove(order)).map(sorted).collect())
    }
}

/// The rows in the sequences of the listings of one order.
fn sorted(mut records: OrderRecords) -> OrderRecords {
    records.money.refunds.sort_by_key(|refund| refund.id);
    records.mails.sort_by(|a, b| (a.sent_at, &a.template).cmp(&(b.sent_at, &b.template)));
    records.events.sort_by_key(|event| event.sequence);
    records.attempts.sort_by_key(|attempt| (attempt.at, attempt.endpoint, attempt.event, attempt.attempt));
    records
}
