//! Fixture of the order cases: a [`OrdersFixture`] is a store with one merchant, a clock and an id source.

use std::{sync::Arc, time::Duration};

use base::{TraceContext, time::later};
use store::{
    OrderStore,
    catalog::{InventoryPut, ProductData},
    domain::{
        AMOUNT_MINOR_MAX, Address, Customer, CustomerId, Event, EventKind, MerchantId, Order, OrderId,
        OrderStatus, OrderToken, PageRequest, PaymentId, RefundId,
    },
    orders::{CaptureFacts, IdempotencyKey, NewLine, NewOrder, PlaceOutcome, RefundFacts, Transition},
    outbox::{Command, OutboxBody, OutboxMessage},
};

use crate::Clockwork;

/// Longer than the steps of a case, short enough to expire within it by the case's own clock.
pub(super) const LEASE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct OrdersFixture {
    pub(super) store: Arc<dyn OrderStore>,
    pub(super) time: Clockwork,
    pub(super) merchant: MerchantId,
}

impl OrdersFixture {
    pub(super) async fn new(store: Arc<dyn OrderStore>) -> Self {
        Self::seeded(store, 11).await
    }

    pub(super) async fn seeded(store: Arc<dyn OrderStore>, seed: u64) -> Self {
        let time = Clockwork::new(seed);
        let merchant = MerchantId::fresh(&time.ambient);
        store.ensure_merchant(merchant, "Shop", time.tick()).await.expect("ensures");
        Self { store, time, merchant }
    }

    /// The same store, used by another merchant.
    pub(super) async fn neighbour(&self) -> Self {
        self.time.tick();
        let merchant = MerchantId::fresh(&self.time.ambient);
        self.store.ensure_merchant(merchant, "Neighbour", self.time.tick()).await.expect("ensures");
        Self { merchant, ..self.clone() }
    }

    pub(super) fn data(sku: &str, price_minor: i64) -> ProductData {
        ProductData {
            sku: sku.to_owned(),
            name: format!("The {sku}"),
            description: None,
            category: "things".to_owned(),
            price_minor,
            currency: "EUR".parse().expect("a currency"),
            // Below zero, so that `inventory.low` is written only in the cases about it.
            low_stock_at: -1,
        }
    }

    pub(super) async fn put(&self, data: ProductData) {
        self.store.put_product(self.merchant, data, self.time.tick()).await.expect("puts");
    }

    /// Creates a product with stock.
    pub(super) async fn product(&self, sku: &str, price_minor: i64, on_hand: i64) {
        self.put(Self::data(sku, price_minor)).await;
        self.inventory(sku, on_hand).await;
    }

    pub(super) async fn inventory(&self, sku: &str, on_hand: i64) -> InventoryPut {
        let at = self.time.tick();
        self.store.put_inventory(self.merchant, sku, on_hand, at, None).await.expect("puts")
    }

    /// (`on_hand`, `reserved`).
    pub(super) async fn stock(&self, sku: &str) -> (i64, i64) {
        let product = self.store.product(self.merchant, sku).await.expect("reads").expect("is stored");
        (product.on_hand, product.reserved)
    }

    /// An order with its own id, key and token.
    pub(super) fn new_order(&self, lines: &[(&str, u32)]) -> NewOrder {
        let at = self.time.tick();
        let id = OrderId::fresh(&self.time.ambient);
        NewOrder {
            id,
            merchant: self.merchant,
            customer: Customer { email: "ada@example.com".to_owned(), name: "Ada Lovelace".to_owned() },
            account: Some(CustomerId::fresh(&self.time.ambient)),
            token: Some(self.token()),
            currency: "EUR".parse().expect("a currency"),
            lines: lines.iter().map(|&(sku, quantity)| NewLine { sku: sku.to_owned(), quantity }).collect(),
            reservation: None,
            pricing: None,
            expected_total_minor: None,
            payment_method: "pm_card_visa".to_owned(),
            shipping_address: Some(address()),
            reference: Some("R-1".to_owned()),
            idempotency: IdempotencyKey { key: format!("key-{id}"), fingerprint: [1; 32] },
            trace: Some(TraceContext::fresh(&self.time.ambient)),
            estimated_fulfilment_at: None,
            at,
        }
    }

    /// An order token that expires in a day.
    pub(super) fn token(&self) -> OrderToken {
        let expires_at = later(self.time.ambient.now(), Duration::from_hours(24));
        OrderToken { hash: self.time.ambient.secret(), expires_at }
    }

    pub(super) async fn place(&self, order: NewOrder) -> PlaceOutcome {
        self.store.place_order(order).await.expect("answers")
    }

    pub(super) async fn placed(&self, lines: &[(&str, u32)]) -> Order {
        match self.place(self.new_order(lines)).await {
            PlaceOutcome::Placed { order, .. } => *order,
            other => panic!("not placed: {other:?}"),
        }
    }

    /// A new order of one `mug`, brought to this status by the shortest path.
    pub(super) async fn order_in(&self, status: OrderStatus) -> Order {
        let id = self.placed(&[("mug", 1)]).await.id;
        match status {
            OrderStatus::Pending => {}
            OrderStatus::Paid => drop(self.pay(id).await),
            OrderStatus::Fulfilled => {
                self.pay(id).await;
                self.fulfil(id).await;
            }
            OrderStatus::PaymentFailed => drop(self.fail(id).await),
            OrderStatus::Cancelled => drop(self.cancel(id).await),
            OrderStatus::Refunded => {
                self.pay(id).await;
                self.refund(id, RefundId::derived(id.0, "all"), None).await;
            }
        }
        let order = self.read(id).await;
        assert_eq!(order.status, status, "the way to {status}");
        order
    }

    pub(super) async fn read(&self, id: OrderId) -> Order {
        self.store.order_by_id(id).await.expect("reads").expect("is stored")
    }

    pub(super) async fn pay(&self, id: OrderId) -> Transition {
        let order = self.store.order_by_id(id).await.expect("reads");
        let amount_minor = order.map_or(1, |order| order.total_minor);
        let provider_reference = format!("ch_{id}");
        let facts = CaptureFacts { payment: PaymentId::of_order(id), provider_reference, amount_minor };
        self.store.mark_paid(id, facts, self.time.tick()).await.expect("answers")
    }

    pub(super) async fn fail(&self, id: OrderId) -> Transition {
        let payment = PaymentId::of_order(id);
        let at = self.time.tick();
        self.store.mark_payment_failed(id, payment, "card_declined", at).await.expect("answers")
    }

    pub(super) async fn fulfil(&self, id: OrderId) -> Transition {
        self.store.fulfil(id, self.time.tick()).await.expect("answers")
    }

    pub(super) async fn cancel(&self, id: OrderId) -> Transition {
        let at = self.time.tick();
        self.store.cancel(self.merchant, id, "requested_by_customer", at).await.expect("answers")
    }

    /// Records a refund; of the whole remainder when there is no amount.
    pub(super) async fn refund(&self, id: OrderId, refund: RefundId, amount: Option<i64>) -> Transition {
        let order = self.store.order_by_id(id).await.expect("reads");
        let left = order.map_or(1, |order| order.total_minor - order.refunded_minor);
        let amount_minor = amount.unwrap_or(left);
        self.record_refund(id, refund, amount_minor, None).await
    }

    /// Records a refund that the provider refused.
    pub(super) async fn refund_fails(&self, id: OrderId, refund: RefundId, amount_minor: i64) -> Transition {
        self.record_refund(id, refund, amount_minor, Some("charge_disputed".to_owned())).await
    }

    async fn record_refund(
        &self,
        id: OrderId,
        refund: RefundId,
        amount_minor: i64,
        failure: Option<String>,
    ) -> Transition {
        let facts = RefundFacts { payment: PaymentId::of_order(id), refund, amount_minor, failure };
        self.store.record_refund(id, facts, self.time.tick()).await.expect("answers")
    }

    pub(super) fn refund_id(&self) -> RefundId {
        self.time.tick();
        RefundId::fresh(&self.time.ambient)
    }

    pub(super) async fn events(&self, order: OrderId) -> Vec<Event> {
        self.store.order_events(order, 0).await.expect("reads")
    }

    /// The kinds of an order's events; checks that their sequence has no gap and that the order counts them.
    pub(super) async fn kinds(&self, order: OrderId) -> Vec<EventKind> {
        let events = self.events(order).await;
        let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
        let expected: Vec<u64> = (1..).take(events.len()).collect();
        assert_eq!(sequences, expected, "{order} has a gap or a repetition");
        assert_eq!(self.read(order).await.event_sequence, *expected.last().unwrap_or(&0), "{order}");
        events.into_iter().map(|event| event.kind).collect()
    }

    /// The merchant's latest events, oldest first, at most 100.
    pub(super) async fn merchant_events(&self) -> Vec<Event> {
        let page = PageRequest { limit: 100, after: None };
        let mut events = self.store.events(self.merchant, page).await.expect("reads").items;
        events.reverse();
        events
    }

    pub(super) async fn claim(&self, relay: &str, limit: u32) -> Vec<OutboxMessage> {
        self.store.claim(relay, limit, LEASE, self.time.tick()).await.expect("claims")
    }

    pub(super) async fn sent(&self, messages: &[OutboxMessage]) {
        let positions: Vec<_> = messages.iter().map(|message| message.position).collect();
        self.store.mark_sent(&positions, self.time.tick()).await.expect("marks");
    }

    /// Claims all unsent messages and marks them as sent.
    pub(super) async fn drain(&self) -> Vec<OutboxMessage> {
        let mut all = Vec::new();
        loop {
            let messages = self.claim("drain", 100).await;
            if messages.is_empty() {
                return all;
            }
            self.sent(&messages).await;
            all.extend(messages);
        }
    }

    /// Drains the outbox and returns the refund commands of an order: (refund, amount).
    pub(super) async fn drained_refunds(&self, id: OrderId) -> Vec<(RefundId, i64)> {
        let bodies = self.drain().await.into_iter().map(|message| message.body);
        bodies
            .filter_map(|body| match body {
                OutboxBody::Command { command: Command::Refund { order, refund, amount_minor }, .. }
                    if order == id =>
                {
                    Some((refund, amount_minor))
                }
                _ => None,
            })
            .collect()
    }
}

/// The order a message is about.
pub(super) fn subject(message: &OutboxMessage) -> Option<OrderId> {
    match &message.body {
        OutboxBody::Event(event) => event.order,
        OutboxBody::Command { command, .. } => command.order(),
        OutboxBody::Unreadable(row) => row.order,
    }
}

/// A word for the kind of answer.
pub(super) fn outcome(moved: &Transition) -> &'static str {
    match moved {
        Transition::Now(_) => "now",
        Transition::Already(_) => "already",
        Transition::Refused(_) => "refused",
        Transition::NotFound => "not found",
    }
}

pub(super) fn address() -> Address {
    Address {
        name: "Ada Lovelace".to_owned(),
        line1: "12 St James's Square".to_owned(),
        line2: None,
        city: "London".to_owned(),
        postal_code: "SW1Y".to_owned(),
        country: "GB".to_owned(),
    }
}

/// A price of which two units exceed the largest total of an order.
pub(super) const HUGE_MINOR: i64 = AMOUNT_MINOR_MAX - 1;
