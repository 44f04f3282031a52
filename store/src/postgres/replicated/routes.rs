//! Routing of each call to the primary or the replica.
//!
//! Reads that a merchant requests may go to the replica. To the primary go: writes; reads by workers and relays, which
//! decide by them; customers' accounts and verifications, as customers sign in moments later; API keys, so that revoked
//! ones are rejected; and [`Outbox::order_events`], whose reader an arrival wakes before a replica can have the event.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use tokio::sync::watch;

use super::{PostgresOrders, ReplicatedOrders};
use crate::{
    audit::{Audit, AuditMark, AuditedEndpoint, OrderMoney, StockCount},
    catalog::{Catalog, Category, InventoryPut, Product, ProductData, ProductFilter},
    customers::{Account, Customers, PasswordHash},
    domain::{
        CustomerId, EndpointId, Event, EventId, EventKind, MerchantId, Order, OrderId, OrderStatus,
        OrderToken, Page, PageRequest, PaymentId, RefundId, VerificationId,
    },
    error::StoreError,
    merchants::{KeyHash, KeyRecord, Merchants},
    orders::{
        CaptureFacts, MailRecord, MailSubject, Mails, NewOrder, Orders, PlaceOutcome, RefundFacts,
        RefundRequested, Transition,
    },
    outbox::{Backlog, Command, Outbox, OutboxMessage, Position, Submitted},
    token::TokenHash,
    verifications::{
        Minting, NewVerification, OpenAccount, Verification, VerificationRequested, Verifications,
    },
    webhooks::{Endpoint, EndpointChange, EndpointFinding, WebhookAttempt, Webhooks},
};

/// For answers that cannot be missing on a replica.
fn never<T>(_: &T) -> bool {
    false
}

impl ReplicatedOrders {
    /// Runs a transition that names no merchant; the order in the answer tells the merchant to record.
    async fn of_whom(
        &self,
        moving: impl Future<Output = Result<Transition, StoreError>> + Send,
    ) -> Result<Transition, StoreError> {
        let moved = moving.await?;
        if let Transition::Now(order) | Transition::Already(order) | Transition::Refused(order) = &moved {
            self.shared.note(order.merchant.0);
        }
        Ok(moved)
    }
}

#[async_trait]
impl Merchants for ReplicatedOrders {
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        self.primary.ensure_merchant(id, name, at).await
    }

    async fn ensure_key(&self, key: &KeyRecord, hash: KeyHash, at: Timestamp) -> Result<bool, StoreError> {
        self.primary.ensure_key(key, hash, at).await
    }

    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        self.primary.key_by_hash(hash).await
    }

    async fn merchant_name(&self, id: MerchantId) -> Result<Option<String>, StoreError> {
        self.primary.merchant_name(id).await
    }
}

#[async_trait]
impl Customers for ReplicatedOrders {
    async fn customer_by_email(
        &self,
        merchant: MerchantId,
        email: &str,
    ) -> Result<Option<Account>, StoreError> {
        self.primary.customer_by_email(merchant, email).await
    }

    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>, StoreError> {
        self.primary.customer_by_id(id).await
    }

    async fn delete_account(&self, merchant: MerchantId, id: CustomerId) -> Result<bool, StoreError> {
        self.write(merchant.0, self.primary.delete_account(merchant, id)).await
    }
}

#[async_trait]
impl Verifications for ReplicatedOrders {
    async fn request_verification(&self, new: NewVerification) -> Result<VerificationRequested, StoreError> {
        self.primary.request_verification(new).await
    }

    async fn mint_verification(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Minting, StoreError> {
        self.primary.mint_verification(merchant, id, token, at).await
    }

    async fn record_verification_mail(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.primary.record_verification_mail(merchant, id, at).await
    }

    async fn verification_by_token(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Option<Verification>, StoreError> {
        self.primary.verification_by_token(merchant, token, at).await
    }

    async fn open_account(&self, open: OpenAccount) -> Result<Option<Account>, StoreError> {
        self.write(open.merchant.0, self.primary.open_account(open)).await
    }

    async fn reset_password(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        password_hash: PasswordHash,
        at: Timestamp,
    ) -> Result<Option<CustomerId>, StoreError> {
        self.primary.reset_password(merchant, token, password_hash, at).await
    }

    async fn expire_verifications(&self, at: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.primary.expire_verifications(at, limit).await
    }
}

#[async_trait]
impl Catalog for ReplicatedOrders {
    async fn put_product(
        &self,
        merchant: MerchantId,
        product: ProductData,
        at: Timestamp,
    ) -> Result<(Product, bool), StoreError> {
        self.write(merchant.0, self.primary.put_product(merchant, product, at)).await
    }

    async fn put_inventory(
        &self,
        merchant: MerchantId,
        sku: &str,
        on_hand: i64,
        at: Timestamp,
        trace: Option<TraceContext>,
    ) -> Result<InventoryPut, StoreError> {
        self.write(merchant.0, self.primary.put_inventory(merchant, sku, on_hand, at, trace)).await
    }

    async fn product(&self, merchant: MerchantId, sku: &str) -> Result<Option<Product>, StoreError> {
        let replica = |store: PostgresOrders| async move { store.product(merchant, sku).await };
        self.read(merchant.0, replica, self.primary.product(merchant, sku), Option::is_none).await
    }

    async fn products(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
        page: PageRequest<String>,
    ) -> Result<Page<Product>, StoreError> {
        let same = page.clone();
        let replica = |store: PostgresOrders| async move { store.products(merchant, filter, same).await };
        self.read(merchant.0, replica, self.primary.products(merchant, filter, page), never).await
    }

    async fn categories(&self, merchant: MerchantId) -> Result<Vec<Category>, StoreError> {
        let replica = |store: PostgresOrders| async move { store.categories(merchant).await };
        self.read(merchant.0, replica, self.primary.categories(merchant), never).await
    }
}

#[async_trait]
impl Orders for ReplicatedOrders {
    async fn place_order(&self, order: NewOrder) -> Result<PlaceOutcome, StoreError> {
        self.write(order.merchant.0, self.primary.place_order(order)).await
    }

    async fn order(&self, merchant: MerchantId, id: OrderId) -> Result<Option<Order>, StoreError> {
        let replica = |store: PostgresOrders| async move { store.order(merchant, id).await };
        self.read(merchant.0, replica, self.primary.order(merchant, id), Option::is_none).await
    }

    async fn order_by_id(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.primary.order_by_id(id).await
    }

    async fn replace_order_token(
        &self,
        merchant: MerchantId,
        id: OrderId,
        token: Option<OrderToken>,
    ) -> Result<bool, StoreError> {
        self.write(merchant.0, self.primary.replace_order_token(merchant, id, token)).await
    }

    async fn orders(
        &self,
        merchant: MerchantId,
        status: Option<OrderStatus>,
        page: PageRequest<OrderId>,
    ) -> Result<Page<Order>, StoreError> {
        let replica = |store: PostgresOrders| async move { store.orders(merchant, status, page).await };
        self.read(merchant.0, replica, self.primary.orders(merchant, status, page), never).await
    }

    async fn mark_paid(
        &self,
        id: OrderId,
        facts: CaptureFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        self.of_whom(self.primary.mark_paid(id, facts, at)).await
    }

    async fn mark_payment_failed(
        &self,
        id: OrderId,
        payment: PaymentId,
        code: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        self.of_whom(self.primary.mark_payment_failed(id, payment, code, at)).await
    }

    async fn fulfil(&self, id: OrderId, at: Timestamp) -> Result<Transition, StoreError> {
        self.of_whom(self.primary.fulfil(id, at)).await
    }

    async fn cancel(
        &self,
        merchant: MerchantId,
        id: OrderId,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        self.write(merchant.0, self.primary.cancel(merchant, id, reason, at)).await
    }

    async fn expire_pending(&self, before: Timestamp, limit: u32, at: Timestamp) -> Result<u64, StoreError> {
        self.primary.expire_pending(before, limit, at).await
    }

    async fn request_refund(
        &self,
        merchant: MerchantId,
        id: OrderId,
        refund: RefundId,
        amount_minor: Option<i64>,
        at: Timestamp,
    ) -> Result<RefundRequested, StoreError> {
        self.write(merchant.0, self.primary.request_refund(merchant, id, refund, amount_minor, at)).await
    }

    async fn record_refund(
        &self,
        id: OrderId,
        facts: RefundFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        self.of_whom(self.primary.record_refund(id, facts, at)).await
    }

    async fn expire_idempotency(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.primary.expire_idempotency(before, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.primary.ping().await
    }
}

#[async_trait]
impl Mails for ReplicatedOrders {
    async fn mails(&self, subject: MailSubject) -> Result<Vec<MailRecord>, StoreError> {
        self.primary.mails(subject).await
    }

    async fn record_mail(&self, subject: MailSubject, mail: MailRecord) -> Result<bool, StoreError> {
        self.primary.record_mail(subject, mail).await
    }
}

#[async_trait]
impl Outbox for ReplicatedOrders {
    async fn submit(&self, id: EventId, command: Command, at: Timestamp) -> Result<Submitted, StoreError> {
        self.primary.submit(id, command, at).await
    }

    async fn claim(
        &self,
        relay: &str,
        limit: u32,
        lease: Duration,
        at: Timestamp,
    ) -> Result<Vec<OutboxMessage>, StoreError> {
        self.primary.claim(relay, limit, lease, at).await
    }

    async fn mark_sent(&self, positions: &[Position], at: Timestamp) -> Result<(), StoreError> {
        self.primary.mark_sent(positions, at).await
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.primary.arrivals()
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.primary.backlog().await
    }

    async fn events(
        &self,
        merchant: MerchantId,
        page: PageRequest<EventId>,
    ) -> Result<Page<Event>, StoreError> {
        let replica = |store: PostgresOrders| async move { store.events(merchant, page).await };
        // After an event that the replica does not have yet, it finds nothing, which would look like the last page.
        let is_missing = |found: &Page<Event>| page.after.is_some() && found.items.is_empty();
        self.read(merchant.0, replica, self.primary.events(merchant, page), is_missing).await
    }

    async fn event_by_id(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.primary.event_by_id(id).await
    }

    async fn order_events(&self, order: OrderId, after: u64) -> Result<Vec<Event>, StoreError> {
        self.primary.order_events(order, after).await
    }
}

#[async_trait]
impl Webhooks for ReplicatedOrders {
    async fn create_endpoint(&self, endpoint: Endpoint) -> Result<bool, StoreError> {
        self.write(endpoint.merchant.0, self.primary.create_endpoint(endpoint)).await
    }

    async fn endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let replica = |store: PostgresOrders| async move { store.endpoint(merchant, id).await };
        self.read(merchant.0, replica, self.primary.endpoint(merchant, id), Option::is_none).await
    }

    async fn endpoint_by_id(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        self.primary.endpoint_by_id(id).await
    }

    async fn endpoints(
        &self,
        merchant: MerchantId,
        page: PageRequest<EndpointId>,
    ) -> Result<Page<Endpoint>, StoreError> {
        let replica = |store: PostgresOrders| async move { store.endpoints(merchant, page).await };
        self.read(merchant.0, replica, self.primary.endpoints(merchant, page), never).await
    }

    async fn update_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, StoreError> {
        self.write(merchant.0, self.primary.update_endpoint(merchant, id, change)).await
    }

    async fn note_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        finding: EndpointFinding,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(merchant.0, self.primary.note_endpoint(merchant, id, finding, at)).await
    }

    async fn delete_endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<bool, StoreError> {
        self.write(merchant.0, self.primary.delete_endpoint(merchant, id)).await
    }

    async fn subscribers(
        &self,
        merchant: MerchantId,
        kind: EventKind,
    ) -> Result<Vec<EndpointId>, StoreError> {
        self.primary.subscribers(merchant, kind).await
    }

    async fn record_attempt(&self, attempt: WebhookAttempt) -> Result<(), StoreError> {
        match attempt.order {
            Some(order) => self.write(order.0, self.primary.record_attempt(attempt)).await,
            None => self.primary.record_attempt(attempt).await,
        }
    }

    async fn attempts_of_order(&self, order: OrderId) -> Result<Vec<WebhookAttempt>, StoreError> {
        let replica = |store: PostgresOrders| async move { store.attempts_of_order(order).await };
        self.read(order.0, replica, self.primary.attempts_of_order(order), never).await
    }

    async fn delivered(&self, endpoint: EndpointId, event: EventId) -> Result<bool, StoreError> {
        self.primary.delivered(endpoint, event).await
    }
}

/// An audit reports what it reads, so all its reads go to the primary.
#[async_trait]
impl Audit for ReplicatedOrders {
    async fn all_orders(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        self.primary.all_orders(after, limit).await
    }

    async fn touched_orders(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<(EventId, OrderId)>, StoreError> {
        self.primary.touched_orders(from, until, after, limit).await
    }

    async fn order_money(&self, order: OrderId) -> Result<Option<OrderMoney>, StoreError> {
        self.primary.order_money(order).await
    }

    async fn stock_counts(
        &self,
        after: Option<(MerchantId, String)>,
        limit: u32,
    ) -> Result<Vec<StockCount>, StoreError> {
        self.primary.stock_counts(after, limit).await
    }

    async fn audited_endpoints(&self, merchant: MerchantId) -> Result<Vec<AuditedEndpoint>, StoreError> {
        self.primary.audited_endpoints(merchant).await
    }

    async fn repair_reservation(
        &self,
        merchant: MerchantId,
        sku: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.primary.repair_reservation(merchant, sku, at).await
    }

    async fn request_missing_refund(&self, order: OrderId, at: Timestamp) -> Result<bool, StoreError> {
        self.primary.request_missing_refund(order, at).await
    }

    async fn audit_mark(&self) -> Result<Option<AuditMark>, StoreError> {
        self.primary.audit_mark().await
    }

    async fn set_audit_mark(&self, mark: &AuditMark) -> Result<(), StoreError> {
        self.primary.set_audit_mark(mark).await
    }
}
