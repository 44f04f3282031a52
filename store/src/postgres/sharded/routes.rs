//! Routing of each call to a shard, one line per call. A method that is added to a contract is routed by its merchant
//! ([`ShardedOrders::write`], [`ShardedOrders::read`]) or by a record of its merchant ([`ShardedOrders::write_of`],
//! [`ShardedOrders::read_of`]). A call about all merchants asks every shard, and also sees copies of merchants that are
//! being or have been migrated: it acts on the shard of a record's merchant, or only where a copy may be treated alike.

use async_trait::async_trait;
use base::{Timestamp, TraceContext};
use futures::future::join_all;

use super::{ShardedOrders, locating::Thing};
use crate::{
    catalog::{Catalog, Category, InventoryPut, Product, ProductData, ProductFilter},
    customers::{Account, Customers, PasswordHash},
    domain::{
        CustomerId, EndpointId, EventId, EventKind, MerchantId, Order, OrderId, OrderStatus, OrderToken,
        Page, PageRequest, PaymentId, RefundId, VerificationId,
    },
    error::StoreError,
    merchants::{KeyHash, KeyRecord, Merchants},
    orders::{
        CaptureFacts, MailRecord, MailSubject, Mails, NewOrder, Orders, PlaceOutcome, RefundFacts,
        RefundRequested, Transition,
    },
    partitions::{Dropped, Family, Partitions},
    postgres::{PostgresOrders, fault::PostgresFault},
    token::TokenHash,
    verifications::{
        Minting, NewVerification, OpenAccount, Verification, VerificationRequested, Verifications,
    },
    webhooks::{Endpoint, EndpointChange, EndpointFinding, WebhookAttempt, Webhooks},
};

/// A repeatable call of one shard's store: its arguments are cloned each time.
macro_rules! call {
    ($method:ident($($argument:ident),*)) => {
        |store: PostgresOrders| {
            $(let $argument = Clone::clone(&$argument);)*
            async move { store.$method($($argument),*).await }
        }
    };
}
pub(super) use call;

#[async_trait]
impl Merchants for ShardedOrders {
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        // A merchant known to any shard is left alone; an unknown one is created on the shard of the map.
        match self.locate(id).await? {
            Some(_) => Ok(false),
            None => self.store(self.shared.map.home(id)).ensure_merchant(id, name, at).await,
        }
    }

    async fn ensure_key(&self, key: &KeyRecord, hash: KeyHash, at: Timestamp) -> Result<bool, StoreError> {
        // A database can tell only for itself that the secret is taken.
        if self.key(hash).await?.is_some_and(|found| found.merchant != key.merchant) {
            let taken = format!("key {} is taken by another merchant", key.id);
            return Err(PostgresFault::Corrupt(taken).into());
        }
        self.write(key.merchant, call!(ensure_key(key, hash, at))).await
    }

    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        self.key(hash).await
    }

    async fn merchant_name(&self, id: MerchantId) -> Result<Option<String>, StoreError> {
        self.read(id, call!(merchant_name(id))).await
    }
}

#[async_trait]
impl Customers for ShardedOrders {
    async fn customer_by_email(
        &self,
        merchant: MerchantId,
        email: &str,
    ) -> Result<Option<Account>, StoreError> {
        self.read(merchant, call!(customer_by_email(merchant, email))).await
    }

    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>, StoreError> {
        self.read_of(Thing::customer(id), call!(customer_by_id(id))).await
    }

    async fn delete_account(&self, merchant: MerchantId, id: CustomerId) -> Result<bool, StoreError> {
        self.write(merchant, call!(delete_account(merchant, id))).await
    }
}

#[async_trait]
impl Verifications for ShardedOrders {
    async fn request_verification(&self, new: NewVerification) -> Result<VerificationRequested, StoreError> {
        self.write(new.verification.merchant, call!(request_verification(new))).await
    }

    async fn mint_verification(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Minting, StoreError> {
        self.write(merchant, call!(mint_verification(merchant, id, token, at))).await
    }

    async fn record_verification_mail(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(merchant, call!(record_verification_mail(merchant, id, at))).await
    }

    async fn verification_by_token(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Option<Verification>, StoreError> {
        self.read(merchant, call!(verification_by_token(merchant, token, at))).await
    }

    async fn open_account(&self, open: OpenAccount) -> Result<Option<Account>, StoreError> {
        self.write(open.merchant, call!(open_account(open))).await
    }

    async fn reset_password(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        password_hash: PasswordHash,
        at: Timestamp,
    ) -> Result<Option<CustomerId>, StoreError> {
        self.write(merchant, call!(reset_password(merchant, token, password_hash, at))).await
    }

    async fn expire_verifications(&self, at: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let (mut dropped, mut failed) = (0, None);
        for store in self.stores() {
            let left = limit.saturating_sub(u32::try_from(dropped).unwrap_or(u32::MAX));
            match store.expire_verifications(at, left).await {
                Ok(some) => dropped += some,
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if dropped == 0 => Err(error),
            _ => Ok(dropped),
        }
    }
}

#[async_trait]
impl Catalog for ShardedOrders {
    async fn put_product(
        &self,
        merchant: MerchantId,
        product: ProductData,
        at: Timestamp,
    ) -> Result<(Product, bool), StoreError> {
        self.write(merchant, call!(put_product(merchant, product, at))).await
    }

    async fn put_inventory(
        &self,
        merchant: MerchantId,
        sku: &str,
        on_hand: i64,
        at: Timestamp,
        trace: Option<TraceContext>,
    ) -> Result<InventoryPut, StoreError> {
        self.write(merchant, call!(put_inventory(merchant, sku, on_hand, at, trace))).await
    }

    async fn product(&self, merchant: MerchantId, sku: &str) -> Result<Option<Product>, StoreError> {
        self.read(merchant, call!(product(merchant, sku))).await
    }

    async fn products(
        &self,
        merchant: MerchantId,
        filter: &ProductFilter,
        page: PageRequest<String>,
    ) -> Result<Page<Product>, StoreError> {
        self.read(merchant, call!(products(merchant, filter, page))).await
    }

    async fn categories(&self, merchant: MerchantId) -> Result<Vec<Category>, StoreError> {
        self.read(merchant, call!(categories(merchant))).await
    }
}

#[async_trait]
impl Orders for ShardedOrders {
    async fn place_order(&self, order: NewOrder) -> Result<PlaceOutcome, StoreError> {
        let (id, merchant) = (order.id, order.merchant);
        let placement = self.write(merchant, call!(place_order(order))).await?;
        if matches!(placement, PlaceOutcome::Placed { .. }) {
            self.shared.located.note_owner(id.0, merchant).await;
        }
        Ok(placement)
    }

    async fn order(&self, merchant: MerchantId, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.read(merchant, call!(order(merchant, id))).await
    }

    async fn order_by_id(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.read_of(Thing::order(id), call!(order_by_id(id))).await
    }

    async fn replace_order_token(
        &self,
        merchant: MerchantId,
        id: OrderId,
        token: Option<OrderToken>,
    ) -> Result<bool, StoreError> {
        self.write(merchant, call!(replace_order_token(merchant, id, token))).await
    }

    async fn orders(
        &self,
        merchant: MerchantId,
        status: Option<OrderStatus>,
        page: PageRequest<OrderId>,
    ) -> Result<Page<Order>, StoreError> {
        self.read(merchant, call!(orders(merchant, status, page))).await
    }

    async fn mark_paid(
        &self,
        id: OrderId,
        facts: CaptureFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        self.write_of(Thing::order(id), call!(mark_paid(id, facts, at))).await
    }

    async fn mark_payment_failed(
        &self,
        id: OrderId,
        payment: PaymentId,
        code: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        self.write_of(Thing::order(id), call!(mark_payment_failed(id, payment, code, at))).await
    }

    async fn fulfil(&self, id: OrderId, at: Timestamp) -> Result<Transition, StoreError> {
        self.write_of(Thing::order(id), call!(fulfil(id, at))).await
    }

    async fn cancel(
        &self,
        merchant: MerchantId,
        id: OrderId,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        self.write(merchant, call!(cancel(merchant, id, reason, at))).await
    }

    async fn request_refund(
        &self,
        merchant: MerchantId,
        id: OrderId,
        refund: RefundId,
        amount_minor: Option<i64>,
        at: Timestamp,
    ) -> Result<RefundRequested, StoreError> {
        self.write(merchant, call!(request_refund(merchant, id, refund, amount_minor, at))).await
    }

    async fn record_refund(
        &self,
        id: OrderId,
        facts: RefundFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        self.write_of(Thing::order(id), call!(record_refund(id, facts, at))).await
    }

    /// A shard may list copies: each order is expired on the shard of its merchant.
    async fn expire_pending(&self, before: Timestamp, limit: u32, at: Timestamp) -> Result<u64, StoreError> {
        let (mut expired, mut failed) = (0, None);
        for shard in &self.shared.shards {
            let stale = match shard.store.stale(before, limit).await {
                Ok(stale) => stale,
                Err(error) => {
                    failed = Some(error.into());
                    continue;
                }
            };
            for id in stale {
                match self.write_of(Thing::order(id), call!(expire_order(id, at))).await {
                    Ok(moved) => expired += u64::from(moved),
                    Err(error) => failed = Some(error),
                }
            }
        }
        match failed {
            Some(error) if expired == 0 => Err(error),
            _ => Ok(expired),
        }
    }

    async fn expire_idempotency(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let (mut dropped, mut failed) = (0, None);
        for shard in &self.shared.shards {
            let left = limit.saturating_sub(u32::try_from(dropped).unwrap_or(u32::MAX));
            match shard.store.expire_idempotency(before, left).await {
                Ok(some) => dropped += some,
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if dropped == 0 => Err(error),
            _ => Ok(dropped),
        }
    }

    /// One shard that answers is enough: its merchants can order. [`ShardedOrders::health`] reports each shard.
    async fn ping(&self) -> Result<(), StoreError> {
        let mut last = Ok(());
        for (_, answer) in self.health().await {
            if answer.is_ok() {
                return Ok(());
            }
            last = answer;
        }
        last
    }
}

#[async_trait]
impl Mails for ShardedOrders {
    async fn mails(&self, subject: MailSubject) -> Result<Vec<MailRecord>, StoreError> {
        self.read_of(Thing::mailed(subject), call!(mails(subject))).await
    }

    async fn record_mail(&self, subject: MailSubject, mail: MailRecord) -> Result<bool, StoreError> {
        self.write_of(Thing::mailed(subject), call!(record_mail(subject, mail))).await
    }
}

#[async_trait]
impl Webhooks for ShardedOrders {
    async fn create_endpoint(&self, endpoint: Endpoint) -> Result<bool, StoreError> {
        self.write(endpoint.merchant, call!(create_endpoint(endpoint))).await
    }

    async fn endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        self.read(merchant, call!(endpoint(merchant, id))).await
    }

    async fn endpoint_by_id(&self, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        self.read_of(Thing::endpoint(id), call!(endpoint_by_id(id))).await
    }

    async fn endpoints(
        &self,
        merchant: MerchantId,
        page: PageRequest<EndpointId>,
    ) -> Result<Page<Endpoint>, StoreError> {
        self.read(merchant, call!(endpoints(merchant, page))).await
    }

    async fn update_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        change: EndpointChange,
    ) -> Result<Option<Endpoint>, StoreError> {
        self.write(merchant, call!(update_endpoint(merchant, id, change))).await
    }

    async fn note_endpoint(
        &self,
        merchant: MerchantId,
        id: EndpointId,
        finding: EndpointFinding,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(merchant, call!(note_endpoint(merchant, id, finding, at))).await
    }

    async fn delete_endpoint(&self, merchant: MerchantId, id: EndpointId) -> Result<bool, StoreError> {
        self.write(merchant, call!(delete_endpoint(merchant, id))).await
    }

    async fn subscribers(
        &self,
        merchant: MerchantId,
        kind: EventKind,
    ) -> Result<Vec<EndpointId>, StoreError> {
        self.read(merchant, call!(subscribers(merchant, kind))).await
    }

    async fn record_attempt(&self, attempt: WebhookAttempt) -> Result<(), StoreError> {
        let (order, event) = (attempt.order, Some(attempt.event));
        let of = Thing { order, event, ..Thing::endpoint(attempt.endpoint) };
        self.write_of(of, call!(record_attempt(attempt))).await
    }

    async fn attempts_of_order(&self, order: OrderId) -> Result<Vec<WebhookAttempt>, StoreError> {
        self.read_of(Thing::order(order), call!(attempts_of_order(order))).await
    }

    async fn delivered(&self, endpoint: EndpointId, event: EventId) -> Result<bool, StoreError> {
        let of = Thing { event: Some(event), ..Thing::endpoint(endpoint) };
        self.read_of(of, call!(delivered(endpoint, event))).await
    }
}

#[async_trait]
impl Partitions for ShardedOrders {
    async fn create_partitions(&self, now: Timestamp, months_ahead: u32) -> Result<Vec<String>, StoreError> {
        let created = join_all(self.stores().map(|store| store.create_partitions(now, months_ahead))).await;
        let mut names = Vec::new();
        for (shard, created) in self.shared.map.names().iter().zip(created) {
            names.extend(created?.into_iter().map(|table| format!("{shard}/{table}")));
        }
        Ok(names)
    }

    async fn drop_partitions(&self, family: Family, before: Timestamp) -> Result<Dropped, StoreError> {
        let dropped = join_all(self.stores().map(|store| store.drop_partitions(family, before))).await;
        let mut all = Dropped::default();
        for (shard, dropped) in self.shared.map.names().iter().zip(dropped) {
            let dropped = dropped?;
            all.tables.extend(dropped.tables.into_iter().map(|table| format!("{shard}/{table}")));
            all.kept.extend(dropped.kept.into_iter().map(|(table, why)| (format!("{shard}/{table}"), why)));
        }
        Ok(all)
    }
}
