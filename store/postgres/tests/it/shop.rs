//! Fixture of the PostgreSQL cases: a [`Shop`] is a merchant with products, used through one store.

use std::sync::Arc;

use base::{Ambient, Timestamp, postgres::PostgresConfig};
use store::{
    OrderStore,
    catalog::ProductData,
    domain::{Customer, MerchantId, Order, OrderId, PaymentId},
    error::StoreError,
    orders::{CaptureFacts, IdempotencyKey, NewLine, NewOrder, PlaceOutcome, Transition},
};
use store_postgres::PostgresOrders;

use crate::util::postgres::open;

/// A merchant with ten units of `a` and ten of `b`.
pub(super) async fn shop(config: &PostgresConfig) -> TestMerchant {
    let shop = TestMerchant::new(open(config).await, Ambient::system()).await;
    shop.product("a", 10).await;
    shop.product("b", 10).await;
    shop
}

#[derive(Clone)]
pub(super) struct TestMerchant<S = PostgresOrders> {
    pub(super) store: Arc<S>,
    pub(super) ambient: Ambient,
    pub(super) merchant: MerchantId,
}

impl<S: OrderStore + Clone> TestMerchant<S> {
    /// A new merchant.
    pub(super) async fn new(store: S, ambient: Ambient) -> Self {
        let merchant = MerchantId::fresh(&ambient);
        Self::of(store, ambient, merchant).await
    }

    /// The given merchant, created if absent.
    pub(super) async fn of(store: S, ambient: Ambient, merchant: MerchantId) -> Self {
        store.ensure_merchant(merchant, "Shop", ambient.now()).await.expect("ensures");
        Self { store: Arc::new(store), ambient, merchant }
    }

    /// The same merchant through another store.
    pub(super) fn through(&self, store: S) -> Self {
        Self { store: Arc::new(store), ..self.clone() }
    }

    pub(super) async fn product(&self, sku: &str, on_hand: i64) {
        self.product_low_at(sku, on_hand, -1).await;
    }

    pub(super) async fn product_low_at(&self, sku: &str, on_hand: i64, low_stock_at: i64) {
        let data = ProductData {
            sku: sku.to_owned(),
            name: format!("The {sku}"),
            description: None,
            category: "things".to_owned(),
            price_minor: 250,
            currency: "EUR".parse().expect("a currency"),
            low_stock_at,
        };
        let now = self.ambient.now();
        self.store.put_product(self.merchant, data, now).await.expect("puts");
        self.store.put_inventory(self.merchant, sku, on_hand, now, None).await.expect("puts");
    }

    /// (`on_hand`, `reserved`).
    pub(super) async fn stock(&self, sku: &str) -> (i64, i64) {
        let product = self.store.product(self.merchant, sku).await.expect("reads").expect("is stored");
        (product.on_hand, product.reserved)
    }

    pub(super) fn new_order(&self, key: &str, skus: &[&str]) -> NewOrder {
        NewOrder {
            id: OrderId::fresh(&self.ambient),
            merchant: self.merchant,
            customer: Customer { email: "ada@example.com".to_owned(), name: "Ada".to_owned() },
            account: None,
            token: None,
            currency: "EUR".parse().expect("a currency"),
            lines: skus.iter().map(|sku| NewLine { sku: (*sku).to_owned(), quantity: 1 }).collect(),
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

    pub(super) async fn try_place(&self, key: &str, skus: &[&str]) -> Result<PlaceOutcome, StoreError> {
        self.store.place_order(self.new_order(key, skus)).await
    }

    pub(super) async fn place(&self, key: &str, skus: &[&str]) -> Order {
        match self.try_place(key, skus).await.expect("answers") {
            PlaceOutcome::Placed { order, .. } => *order,
            other => panic!("not placed: {other:?}"),
        }
    }

    pub(super) async fn pay(&self, order: &Order) {
        let facts = CaptureFacts {
            payment: PaymentId::of_order(order.id),
            provider_reference: "ch_1".to_owned(),
            amount_minor: order.total_minor,
        };
        let moved = self.store.mark_paid(order.id, facts, self.ambient.now()).await.expect("answers");
        assert!(matches!(moved, Transition::Now(_)), "{moved:?}");
    }

    pub(super) async fn fulfil(&self, order: &Order) {
        let moved = self.store.fulfil(order.id, self.ambient.now()).await.expect("answers");
        assert!(matches!(moved, Transition::Now(_)), "{moved:?}");
    }
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}
