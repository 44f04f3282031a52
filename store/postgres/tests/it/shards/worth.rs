//! A merchant with rows in every table, and everything that the contract returns about it.

use std::time::Duration;

use sha2::{Digest, Sha256};
use store::{
    catalog::{Catalog, ProductFilter, ProductSort},
    domain::{EndpointId, KeyId, Order, OrderId, PageRequest, RefundId},
    merchants::{KeyRecord, KeyScope, Merchants},
    orders::{MailRecord, Mails, OrderFilter, Orders, RefundFacts},
    outbox::{Outbox, OutboxMessage},
    webhooks::{Endpoint, Subscription, WebhookAttempt, Webhooks},
};

use super::TestMerchant;

/// Secret API key of the merchant.
const SECRET: &[u8] = b"owk_sec_of_a_test";

pub(super) fn key_hash() -> [u8; 32] {
    Sha256::digest(SECRET).into()
}

fn next<C>(after: Option<C>) -> PageRequest<C> {
    PageRequest { limit: 100, after }
}

/// Fills every table; all messages are sent at the end.
pub(super) async fn settle(shop: &TestMerchant) {
    let (store, now) = (shop.store.as_ref(), shop.ambient.now());
    let key = KeyRecord { id: KeyId::fresh(&shop.ambient), merchant: shop.merchant, scope: KeyScope::Secret };
    store.ensure_key(&key, key_hash(), now).await.expect("ensures");
    let endpoints = [endpoint(shop).await, endpoint(shop).await];
    let mut orders = Vec::new();
    for n in 0..12 {
        let order = shop.place(&format!("settled-{n}"), &["mug", "pen"]).await;
        shop.pay(&order).await;
        shop.fulfil(&order).await;
        record(shop, &order, endpoints[n % 2]).await;
        orders.push(order.id);
    }
    refund(shop, orders[3]).await;
    let open = shop.place("open", &["mug"]).await;
    store
        .cancel(shop.merchant, open.id, "a \"quoted\", reason\\ of (two)\nlines", now)
        .await
        .expect("cancels");
    // The attempts of the endpoint stay with the merchant.
    store.delete_endpoint(shop.merchant, endpoints[1]).await.expect("deletes");
    drain(shop).await;
}

pub(super) async fn endpoint(shop: &TestMerchant) -> EndpointId {
    let id = EndpointId::fresh(&shop.ambient);
    let endpoint = Endpoint {
        id,
        merchant: shop.merchant,
        url: "https://example.com/hooks?a=b,c".to_owned(),
        events: Subscription::All,
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        enabled: true,
        failing_since: None,
        disabled: None,
        previous_secrets: Vec::new(),
        times_disabled: 0,
        created_at: shop.ambient.now(),
    };
    assert!(shop.store.create_endpoint(endpoint).await.expect("creates"));
    id
}

/// Records a mail, and an attempt for each event.
pub(super) async fn record(shop: &TestMerchant, order: &Order, endpoint: EndpointId) {
    let (store, now) = (shop.store.as_ref(), shop.ambient.now());
    let mail = MailRecord {
        template: "order_confirmed".to_owned(),
        message_id: format!("<{}@example.com>", order.id),
        sent_at: now,
    };
    assert!(store.record_mail(order.id.into(), mail).await.expect("records"));
    for event in store.order_events(order.id, 0).await.expect("reads") {
        let attempt = WebhookAttempt {
            endpoint,
            event: event.id,
            order: event.order,
            attempt: 1,
            at: now,
            duration: Duration::from_micros(1234),
            status: Some(204),
            error: None,
        };
        store.record_attempt(attempt).await.expect("records");
    }
}

async fn refund(shop: &TestMerchant, order: OrderId) {
    let (store, now) = (shop.store.as_ref(), shop.ambient.now());
    let refund = RefundId::fresh(&shop.ambient);
    store.request_refund(shop.merchant, order, refund, Some(100), now).await.expect("asks");
    let payment = store::domain::PaymentId::of_order(order);
    let facts = RefundFacts { payment, refund, amount_minor: 100, failure: None };
    store.record_refund(order, facts, now).await.expect("records");
}

/// Claims and marks all messages as a relay does; returns them.
pub(super) async fn drain(shop: &TestMerchant) -> Vec<OutboxMessage> {
    let store = shop.store.as_ref();
    let mut all = Vec::new();
    loop {
        let lease = Duration::from_secs(30);
        let messages = store.claim("relay", 50, lease, shop.ambient.now()).await.expect("claims");
        if messages.is_empty() {
            return all;
        }
        let positions: Vec<_> = messages.iter().map(|message| message.position).collect();
        store.mark_sent(&positions, shop.ambient.now()).await.expect("marks");
        all.extend(messages);
    }
}

/// Everything that the contract returns about a merchant, as text.
pub(super) async fn told(shop: &TestMerchant) -> Vec<String> {
    let (store, merchant) = (shop.store.as_ref(), shop.merchant);
    let mut told = vec![format!("{:?}", store.merchant_name(merchant).await.expect("reads"))];
    told.push(format!("{:?}", store.key_by_hash(key_hash()).await.expect("reads")));
    // By a word of theirs, which is in a table of its own.
    let filter = ProductFilter { text: Some("the".to_owned()), ..ProductFilter::default() };
    for filter in [ProductFilter::default(), filter] {
        let products = store.products(merchant, &filter, ProductSort::Sku, next(None)).await.expect("reads");
        told.extend(products.items.iter().map(|product| format!("{product:?}")));
    }
    let endpoints = store.endpoints(merchant, next(None)).await.expect("reads").items;
    told.extend(endpoints.iter().map(|endpoint| format!("{endpoint:?} {}", endpoint.url)));
    let mut after = None;
    loop {
        let page = store.orders(merchant, OrderFilter::default(), next(after)).await.expect("reads");
        for order in &page.items {
            told.push(format!("{order:?}"));
            told.push(format!("{:?}", store.mails(order.id.into()).await.expect("reads")));
            told.push(format!("{:?}", store.attempts_of_order(order.id).await.expect("reads")));
            told.push(format!("{:?}", store.order_events(order.id, 0).await.expect("reads")));
        }
        after = page.items.last().map(|order| order.id);
        if !page.has_more {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = store.events(merchant, next(after)).await.expect("reads");
        told.extend(page.items.iter().map(|event| format!("{event:?}")));
        after = page.items.last().map(|event| event.id);
        if !page.has_more {
            return told;
        }
    }
}
