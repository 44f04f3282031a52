//! Tests specific to this engine; the behaviour shared by all engines is in the conformance suite.

mod flow;
mod keys;
mod place_order;
mod plans;
mod product_plans;
mod relays;
mod words;

use std::time::Duration;

use base::{Ambient, Timestamp, ambient::ManualClock};
use store::{
    catalog::{Catalog, InventoryPut, Product, ProductData},
    domain::{Customer, EventKind, MerchantId, Order, OrderId, PaymentId},
    merchants::Merchants,
    orders::{CaptureFacts, IdempotencyKey, NewLine, NewOrder, Orders, PlaceOutcome, Transition},
    outbox::{Outbox, OutboxBody, OutboxMessage},
};

use super::SqliteOrders;

/// A store in a temporary folder with one merchant.
struct TestMerchant {
    folder: tempfile::TempDir,
    store: SqliteOrders,
    ambient: Ambient,
    clock: ManualClock,
    merchant: MerchantId,
}

impl TestMerchant {
    async fn open() -> Self {
        let start = Timestamp::from_millisecond(1_700_000_000_000).expect("in range");
        let (ambient, clock) = Ambient::steered(7, start);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store =
            SqliteOrders::open(&folder.path().join("orders.db"), ambient.clone()).await.expect("opens");
        let merchant = MerchantId::fresh(&ambient);
        store.ensure_merchant(merchant, "Demo", ambient.now()).await.expect("stored");
        Self { folder, store, ambient, clock, merchant }
    }

    async fn product(&self, sku: &str, on_hand: i64, low_stock_at: i64) {
        let data = ProductData {
            sku: sku.to_owned(),
            name: format!("Product {sku}"),
            description: None,
            category: "things".to_owned(),
            price_minor: 250,
            currency: "EUR".parse().expect("a code"),
            low_stock_at,
        };
        self.store.put_product(self.merchant, data, self.ambient.now()).await.expect("stored");
        let put = self.store.put_inventory(self.merchant, sku, on_hand, self.ambient.now(), None).await;
        assert!(matches!(put, Ok(InventoryPut::Set(_))));
    }

    async fn stock(&self, sku: &str) -> Product {
        self.store.product(self.merchant, sku).await.expect("reads").expect("is there")
    }

    fn new_order(&self, key: &str, lines: &[(&str, u32)]) -> NewOrder {
        let line = |(sku, quantity): &(&str, u32)| NewLine { sku: (*sku).to_owned(), quantity: *quantity };
        NewOrder {
            id: OrderId::fresh(&self.ambient),
            merchant: self.merchant,
            customer: Customer { email: "ada@example.com".to_owned(), name: "Ada".to_owned() },
            account: None,
            token: None,
            currency: "EUR".parse().expect("a code"),
            lines: lines.iter().map(line).collect(),
            reservation: None,
            pricing: None,
            expected_total_minor: None,
            payment_method: "pm_card_visa".to_owned(),
            shipping_address: None,
            reference: None,
            idempotency: IdempotencyKey { key: key.to_owned(), fingerprint: [1; 32] },
            trace: None,
            estimated_fulfilment_at: None,
            at: self.ambient.now(),
        }
    }

    async fn place(&self, key: &str, lines: &[(&str, u32)]) -> Order {
        match self.store.place_order(self.new_order(key, lines)).await.expect("answers") {
            PlaceOutcome::Placed { order, .. } => *order,
            other => panic!("not placed: {other:?}"),
        }
    }

    async fn paid(&self, key: &str, lines: &[(&str, u32)]) -> Order {
        let order = self.place(key, lines).await;
        let moved = self.store.mark_paid(order.id, capture(&order), self.ambient.now()).await;
        match moved.expect("answers") {
            Transition::Now(order) => *order,
            other => panic!("not paid: {other:?}"),
        }
    }

    async fn claim(&self, relay: &str, limit: u32) -> Vec<OutboxMessage> {
        let lease = Duration::from_secs(10);
        self.store.claim(relay, limit, lease, self.ambient.now()).await.expect("claims")
    }

    /// Marks all messages as sent, so that a test sees only later ones.
    async fn drain(&self) {
        let sent: Vec<_> = self.claim("drain", 1000).await.iter().map(|m| m.position).collect();
        self.store.mark_sent(&sent, self.ambient.now()).await.expect("marks");
    }
}

fn capture(order: &Order) -> CaptureFacts {
    CaptureFacts {
        payment: PaymentId::of_order(order.id),
        provider_reference: "ch_1".to_owned(),
        amount_minor: order.total_minor,
    }
}

fn kinds(messages: &[OutboxMessage]) -> Vec<Option<(EventKind, u64)>> {
    let kind = |message: &OutboxMessage| match &message.body {
        OutboxBody::Event(event) => Some((event.kind, event.sequence)),
        OutboxBody::Command { .. } | OutboxBody::Unreadable(_) => None,
    };
    messages.iter().map(kind).collect()
}
