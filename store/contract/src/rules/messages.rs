//! Events and commands of one transaction, before an engine writes them.
//!
//! Guarantees: one method per change, so that every engine writes the same events with the same data and sequences;
//! messages are written in the order they were added.

use std::fmt::Display;

use base::{
    Ambient, Timestamp, TraceContext,
    ids::{Uuid, derived},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    Damage,
    stock::{Stock, Wanted},
};
use crate::{
    customers::Account,
    domain::{
        CustomerId, EventId, EventKind, MerchantId, Order, OrderId, OrderStatus, PaymentId, mail_domain,
    },
    event_data,
    merchants::{CardTestingFacts, card_testing_event},
    orders::{CaptureFacts, DisputeFacts, RefundFacts},
    outbox::Command,
    verifications::Verification,
    webhooks::Endpoint,
};

/// The `kind` of rows that hold commands.
pub const COMMAND: &str = "command";

/// The messages of one transaction.
pub struct Messages {
    ambient: Ambient,
    /// Time of the change; the same for all rows.
    pub at: Timestamp,
    /// In the order they are written.
    pub rows: Vec<Message>,
}

/// A row of the outbox, without its position.
#[derive(Serialize)]
pub struct Message {
    pub id: EventId,
    pub merchant: MerchantId,
    pub subject: Subject,
    pub kind: &'static str,
    pub order: Option<OrderId>,
    /// `None` for commands.
    pub sequence: Option<u64>,
    pub data: Value,
    pub trace: Option<TraceContext>,
}

/// Ordering key: messages of one subject are claimed one after another. An engine stores its text or its UUID.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Subject {
    pub text: String,
    #[serde(skip)]
    pub uuid: Uuid,
}

impl Subject {
    fn of(text: impl Display, uuid: Uuid) -> Self {
        Self { text: text.to_string(), uuid }
    }
}

/// Id of an account's `customer.registered`; deleting the account finds the event by it.
pub fn told(account: CustomerId) -> EventId {
    EventId::derived(account.0, "registered")
}

impl Messages {
    pub fn new(ambient: &Ambient, at: Timestamp) -> Self {
        Self { ambient: ambient.clone(), at, rows: Vec::new() }
    }

    /// Orders of a merchant were placed; also writes `inventory.low` for products that fell to their threshold.
    pub fn placed(&mut self, orders: &[Order], reserved: &[Stock], wanted: &Wanted<'_>) {
        for order in orders {
            self.order_events(order, [(EventKind::OrderPlaced, event_data::order(order))]);
        }
        for stock in reserved {
            let took = |order: &&Order| order.lines.iter().any(|line| line.sku == stock.sku);
            let fell_low = stock.fell_low(wanted.get(stock.sku.as_str()).copied().unwrap_or(0));
            if let Some(order) = orders.iter().find(took).filter(|_| fell_low) {
                let sequence = stock.event_sequence;
                self.inventory(order.merchant, stock, EventKind::InventoryLow, sequence, order.trace.clone());
            }
        }
    }

    /// The payment was captured and the order became `paid`.
    pub fn paid(&mut self, order: &Order, facts: &CaptureFacts) {
        let captured = event_data::payment_captured(facts.payment, order, facts.amount_minor);
        let paid = event_data::order(order);
        self.order_events(order, [(EventKind::PaymentCaptured, captured), (EventKind::OrderPaid, paid)]);
    }

    /// The payment was captured for an order that had been cancelled.
    pub fn captured_late(&mut self, order: &Order, facts: &CaptureFacts) {
        let captured = event_data::payment_captured(facts.payment, order, facts.amount_minor);
        self.order_events(order, [(EventKind::PaymentCaptured, captured)]);
    }

    pub fn payment_failed(&mut self, order: &Order, payment: PaymentId, code: &str) {
        let failed = event_data::payment_failed(payment, order, code);
        self.order_events(order, [(EventKind::PaymentFailed, failed)]);
    }

    /// The order was shipped; `shipped` is the stock of its products afterwards.
    pub fn fulfilled(&mut self, order: &Order, shipped: &[Stock]) {
        self.order_events(order, [(EventKind::OrderFulfilled, event_data::order(order))]);
        for stock in shipped {
            let sequence = stock.event_sequence;
            self.inventory(order.merchant, stock, EventKind::InventoryUpdated, sequence, order.trace.clone());
        }
    }

    pub fn cancelled(&mut self, order: &Order) {
        self.order_events(order, [(EventKind::OrderCancelled, event_data::order(order))]);
    }

    /// A refund ended: `refund.failed`, or `payment.refunded`, and `order.refunded` once the whole total is refunded.
    pub fn refund_ended(&mut self, order: &Order, captured_minor: Option<i64>, facts: &RefundFacts) {
        let captured_minor = captured_minor.unwrap_or(order.total_minor);
        if let Some(code) = &facts.failure {
            let data = event_data::refund_failed(order, captured_minor, facts, code);
            return self.order_events(order, [(EventKind::RefundFailed, data)]);
        }
        let data = event_data::payment_refunded(order, captured_minor, facts);
        let refunded = (EventKind::PaymentRefunded, data);
        if order.status == OrderStatus::Refunded {
            self.order_events(order, [refunded, (EventKind::OrderRefunded, event_data::order(order))]);
        } else {
            self.order_events(order, [refunded]);
        }
    }

    /// The provider reported a state of a dispute.
    pub fn disputed(&mut self, order: &Order, captured_minor: Option<i64>, facts: &DisputeFacts) {
        let captured_minor = captured_minor.unwrap_or(order.total_minor);
        let data = event_data::payment_disputed(order, captured_minor, facts);
        self.order_events(order, [(EventKind::PaymentDisputed, data)]);
        if let Some(told) = self.rows.last_mut() {
            told.id = facts.event(order.id);
        }
    }

    /// The merchant set a product's stock; `low` when that crossed the threshold. The last event written has the
    /// product's sequence.
    pub fn stock_set(&mut self, merchant: MerchantId, stock: &Stock, low: bool, trace: Option<TraceContext>) {
        let sequence = stock.event_sequence.saturating_sub(u64::from(low));
        self.inventory(merchant, stock, EventKind::InventoryUpdated, sequence, trace.clone());
        if low {
            self.inventory(merchant, stock, EventKind::InventoryLow, stock.event_sequence, trace);
        }
    }

    pub fn registered(&mut self, account: &Account, trace: Option<TraceContext>) {
        self.rows.push(Message {
            id: told(account.id),
            merchant: account.merchant,
            subject: Subject::of(account.id, account.id.0),
            kind: EventKind::CustomerRegistered.as_str(),
            order: None,
            sequence: Some(1),
            data: event_data::customer(account),
            trace,
        });
    }

    pub fn endpoint_disabled(&mut self, endpoint: &Endpoint) {
        self.rows.push(Message {
            id: EventId::fresh(&self.ambient),
            merchant: endpoint.merchant,
            subject: Subject::of(endpoint.id, endpoint.id.0),
            kind: EventKind::WebhookEndpointDisabled.as_str(),
            order: None,
            sequence: Some(endpoint.times_disabled),
            data: event_data::endpoint_disabled(endpoint),
            trace: None,
        });
    }

    pub fn card_testing(&mut self, merchant: MerchantId, facts: &CardTestingFacts) {
        let id = card_testing_event(merchant, self.at);
        self.rows.push(Message {
            id,
            merchant,
            subject: Subject::of(id, id.0),
            kind: EventKind::CardTestingSuspected.as_str(),
            order: None,
            sequence: Some(1),
            data: event_data::card_testing(facts),
            trace: None,
        });
    }

    /// The command that sends the mail of a verification.
    pub fn verification(&mut self, asked: &Verification, trace: Option<TraceContext>) -> Result<(), Damage> {
        let (merchant, domain) = (asked.merchant, mail_domain(&asked.email));
        let command = Command::Verify { merchant, verification: asked.id, domain };
        let (id, subject) = (EventId::fresh(&self.ambient), Subject::of(asked.id, asked.id.0));
        self.push_command(id, (asked.merchant, None), subject, &command, trace)
    }

    /// The command that delivers an event again.
    pub fn resend(
        &mut self,
        id: EventId,
        (merchant, event): (MerchantId, EventId),
        command: &Command,
    ) -> Result<(), Damage> {
        self.push_command(id, (merchant, None), Subject::of(event, event.0), command, None)
    }

    /// A command about an order, claimed in order with its events.
    pub fn command(&mut self, order: &Order, command: &Command) -> Result<(), Damage> {
        self.command_as(EventId::fresh(&self.ambient), order, command)
    }

    /// The same with an id chosen by the caller.
    pub fn command_as(&mut self, id: EventId, order: &Order, command: &Command) -> Result<(), Damage> {
        let (owner, subject) = ((order.merchant, Some(order.id)), Subject::of(order.id, order.id.0));
        self.push_command(id, owner, subject, command, order.trace.clone())
    }

    fn push_command(
        &mut self,
        id: EventId,
        (merchant, order): (MerchantId, Option<OrderId>),
        subject: Subject,
        command: &Command,
        trace: Option<TraceContext>,
    ) -> Result<(), Damage> {
        let data = serde_json::to_value(command).map_err(|error| Damage(error.to_string()))?;
        self.rows.push(Message { id, merchant, subject, kind: COMMAND, order, sequence: None, data, trace });
        Ok(())
    }

    /// The newest events of an order, oldest first; the last one has the sequence `order.event_sequence`.
    fn order_events<const N: usize>(&mut self, order: &Order, events: [(EventKind, Value); N]) {
        let before = order.event_sequence.saturating_sub(N as u64);
        for (sequence, (kind, data)) in (before + 1..).zip(events) {
            self.rows.push(Message {
                id: EventId::fresh(&self.ambient),
                merchant: order.merchant,
                subject: Subject::of(order.id, order.id.0),
                kind: kind.as_str(),
                order: Some(order.id),
                sequence: Some(sequence),
                data,
                trace: order.trace.clone(),
            });
        }
    }

    fn inventory(
        &mut self,
        merchant: MerchantId,
        stock: &Stock,
        kind: EventKind,
        sequence: u64,
        trace: Option<TraceContext>,
    ) {
        self.rows.push(Message {
            id: EventId::fresh(&self.ambient),
            merchant,
            subject: Subject::of(format!("{merchant}/{}", stock.sku), derived(merchant.0, &stock.sku)),
            kind: kind.as_str(),
            order: None,
            sequence: Some(sequence),
            data: event_data::inventory(&stock.sku, stock.on_hand, stock.reserved),
            trace,
        });
    }
}
