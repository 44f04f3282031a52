//! Writing events and commands into the outbox, inside the unit of work they belong to.
//!
//! Guarantees: all messages of a unit are written by one statement, in the order they were added.

use base::{Ambient, Timestamp, TraceContext};
use serde::Serialize;
use serde_json::Value;
use sqlx::SqliteConnection;

use super::{
    fault::{Fault, to_json},
    stock::Stock,
};
use crate::{
    domain::{EventId, EventKind, MerchantId, Order, OrderId},
    event_data,
    outbox::Command,
};

/// The `kind` of rows that hold commands.
pub(super) const COMMAND: &str = "command";

/// The messages of one unit of work.
pub(super) struct Messages<'a> {
    ambient: &'a Ambient,
    at: Timestamp,
    rows: Vec<MessageRow>,
}

#[derive(Serialize)]
struct MessageRow {
    id: EventId,
    merchant: MerchantId,
    subject: String,
    kind: &'static str,
    order: Option<OrderId>,
    sequence: Option<u64>,
    data: Value,
    trace: Option<TraceContext>,
}

impl<'a> Messages<'a> {
    /// None yet; `at` is when all of them happened.
    pub(super) fn new(ambient: &'a Ambient, at: Timestamp) -> Self {
        Self { ambient, at, rows: Vec::new() }
    }

    /// The newest events of an order, oldest first; the last one has the sequence `order.event_sequence`.
    pub(super) fn order_events<const N: usize>(&mut self, order: &Order, events: [(EventKind, Value); N]) {
        let before = order.event_sequence.saturating_sub(N as u64);
        for (sequence, (kind, data)) in (before + 1..).zip(events) {
            self.rows.push(MessageRow {
                id: EventId::fresh(self.ambient),
                merchant: order.merchant,
                subject: order.id.to_string(),
                kind: kind.as_str(),
                order: Some(order.id),
                sequence: Some(sequence),
                data,
                trace: order.trace,
            });
        }
    }

    /// An event about a product's stock.
    pub(super) fn inventory(
        &mut self,
        merchant: MerchantId,
        stock: &Stock,
        kind: EventKind,
        sequence: u64,
        trace: Option<TraceContext>,
    ) {
        self.rows.push(MessageRow {
            id: EventId::fresh(self.ambient),
            merchant,
            subject: format!("{merchant}/{}", stock.sku),
            kind: kind.as_str(),
            order: None,
            sequence: Some(sequence),
            data: event_data::inventory(&stock.sku, stock.on_hand, stock.reserved),
            trace,
        });
    }

    /// A command about an order, kept in order with its events.
    pub(super) fn command(&mut self, order: &Order, command: &Command) -> Result<(), Fault> {
        let data = serde_json::to_value(command).map_err(|e| Fault::Damaged(e.to_string()))?;
        self.rows.push(MessageRow {
            id: EventId::fresh(self.ambient),
            merchant: order.merchant,
            subject: order.id.to_string(),
            kind: COMMAND,
            order: Some(order.id),
            sequence: None,
            data,
            trace: order.trace,
        });
        Ok(())
    }

    /// Writes them.
    pub(super) async fn write(self, c: &mut SqliteConnection) -> Result<(), Fault> {
        sqlx::query(
            "INSERT INTO outbox (id, merchant_id, subject, kind, order_id, sequence, at, data, trace)
             SELECT value ->> 'id', value ->> 'merchant', value ->> 'subject', value ->> 'kind', value ->> 'order',
                    value ->> 'sequence', ?2, value -> 'data', value ->> 'trace'
             FROM json_each(?1) ORDER BY key",
        )
        .bind(to_json(&self.rows)?)
        .bind(self.at.as_millisecond())
        .execute(c)
        .await?;
        Ok(())
    }
}
