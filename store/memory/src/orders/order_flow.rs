//! [`Orders`] in memory: the reads, and each write as one call.

use async_trait::async_trait;
use base::{Timestamp, time::earlier};
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, OrderToken, Page, PageRequest, PaymentId, RefundId},
    error::StoreError,
    orders::{
        CaptureFacts, DisputeFacts, IDEMPOTENCY_KEEP, IdempotencyKey, NewOrder, OrderFilter, Orders,
        PlaceOutcome, RefundFacts, RefundRequested, Stale, Transition,
    },
    rules,
};

use super::{
    MemoryOrders, place_order, refunds,
    state::{OrderRow, OrdersState},
    transitions,
};
use crate::{page_of, some};

#[async_trait]
impl Orders for MemoryOrders {
    async fn place_order(&self, order: NewOrder) -> Result<PlaceOutcome, StoreError> {
        let ambient = self.ambient.clone();
        self.held.write("place_order", move |state, _| place_order::place(state, &ambient, &order)).await
    }

    async fn answered(
        &self,
        merchant: MerchantId,
        key: &IdempotencyKey,
    ) -> Result<Option<PlaceOutcome>, StoreError> {
        let known = (merchant, key.key.clone());
        let find = |state: &OrdersState| {
            let row = state.idempotency.get(&known)?;
            Some(rules::place_order::replay(key, &row.fingerprint, row.order, row.body.clone()))
        };
        self.held.read("answered", find).await
    }

    async fn order(&self, merchant: MerchantId, id: OrderId) -> Result<Option<Order>, StoreError> {
        let own = |order: &Order| order.merchant == merchant;
        self.held.read("order", |state| state.find_order(id).filter(own)).await
    }

    async fn order_by_id(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        self.held.find("order_by_id", |state| state.find_order(id)).await
    }

    async fn statuses(&self, orders: &[OrderId]) -> Result<Vec<(OrderId, OrderStatus)>, StoreError> {
        let list = |state: &OrdersState| {
            let stored = orders.iter().filter_map(|id| Some((*id, state.orders.get(id)?.order.status)));
            stored.collect::<Vec<_>>()
        };
        self.held.read("statuses", list).await
    }

    async fn replace_order_token(
        &self,
        merchant: MerchantId,
        id: OrderId,
        token: Option<OrderToken>,
    ) -> Result<bool, StoreError> {
        let replace =
            move |state: &mut OrdersState, _| transitions::replace_token(state, (merchant, id), token);
        self.held.write("replace_order_token", replace).await
    }

    async fn orders(
        &self,
        merchant: MerchantId,
        filter: OrderFilter,
        page: PageRequest<OrderId>,
    ) -> Result<Page<Order>, StoreError> {
        let list = |state: &OrdersState| {
            let newest_first = state.orders.values().rev().map(|row| &row.order).filter(|order| {
                order.merchant == merchant
                    && filter.status.is_none_or(|status| order.status == status)
                    && filter.customer.is_none_or(|customer| order.account == Some(customer))
                    && page.after.is_none_or(|after| order.id < after)
            });
            page_of(newest_first.cloned(), page.limit)
        };
        self.held.read("orders", list).await
    }

    async fn mark_paid(
        &self,
        id: OrderId,
        facts: CaptureFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let ambient = self.ambient.clone();
        self.held
            .write("mark_paid", move |state, _| transitions::mark_paid(state, &ambient, id, &facts, at))
            .await
    }

    async fn mark_payment_failed(
        &self,
        id: OrderId,
        payment: PaymentId,
        code: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let (ambient, code) = (self.ambient.clone(), code.to_owned());
        let fail = move |state: &mut OrdersState, _| {
            transitions::mark_payment_failed(state, &ambient, id, (payment, &code), at)
        };
        self.held.write("mark_payment_failed", fail).await
    }

    async fn fulfil(&self, id: OrderId, at: Timestamp) -> Result<Transition, StoreError> {
        let ambient = self.ambient.clone();
        self.held.write("fulfil", move |state, _| transitions::fulfil(state, &ambient, id, at)).await
    }

    async fn cancel_until(
        &self,
        latest: OrderStatus,
        order: (MerchantId, OrderId),
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let (ambient, reason) = (self.ambient.clone(), reason.to_owned());
        let cancel = move |state: &mut OrdersState, _| {
            transitions::cancel(state, &ambient, order, latest, &reason, at)
        };
        self.held.write("cancel", cancel).await
    }

    async fn request_refund(
        &self,
        merchant: MerchantId,
        id: OrderId,
        refund: RefundId,
        amount_minor: Option<i64>,
        at: Timestamp,
    ) -> Result<RefundRequested, StoreError> {
        let (ambient, wish) = (self.ambient.clone(), (refund, amount_minor));
        let request =
            move |state: &mut OrdersState, _| refunds::request(state, &ambient, (merchant, id), wish, at);
        self.held.write("request_refund", request).await
    }

    async fn record_refund(
        &self,
        id: OrderId,
        facts: RefundFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let ambient = self.ambient.clone();
        self.held
            .write("record_refund", move |state, _| refunds::record(state, &ambient, id, &facts, at))
            .await
    }

    async fn stale_orders(
        &self,
        stale: Stale,
        after: Option<OrderId>,
        limit: u32,
    ) -> Result<Vec<OrderId>, StoreError> {
        let list = |state: &OrdersState| {
            let is_stale = |row: &&OrderRow| {
                row.may_expire(stale.debits_before)
                    && row.order.created_at < stale.before
                    && after.is_none_or(|after| row.order.id > after)
            };
            state.orders.values().filter(is_stale).map(|row| row.order.id).take(some(limit)).collect()
        };
        self.held.read("stale_orders", list).await
    }

    async fn expire_order(
        &self,
        id: OrderId,
        debits_before: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let ambient = self.ambient.clone();
        let expire =
            move |state: &mut OrdersState, _| transitions::expire(state, &ambient, id, debits_before, at);
        self.held.write("expire_order", expire).await
    }

    async fn note_debit(&self, id: OrderId, _: Timestamp) -> Result<(), StoreError> {
        self.held.write("note_debit", move |state, _| transitions::note_debit(state, id)).await
    }

    async fn record_dispute(
        &self,
        id: OrderId,
        facts: DisputeFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let ambient = self.ambient.clone();
        let record =
            move |state: &mut OrdersState, _| refunds::record_dispute(state, &ambient, id, &facts, at);
        self.held.write("record_dispute", record).await
    }

    async fn expire_idempotency(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let expire = move |state: &mut OrdersState, _| {
            let newest = state.idempotency.values().map(|row| row.created_at).max();
            let before = earlier(newest.map_or(now, |newest| newest.min(now)), IDEMPOTENCY_KEEP);
            let old = state.idempotency.iter().filter(|(_, row)| row.created_at < before);
            let mut old: Vec<_> = old.map(|(key, row)| (row.created_at, key.clone())).collect();
            old.sort();
            old.truncate(some(limit));
            for (_, key) in &old {
                state.idempotency.remove(key);
            }
            Ok(old.len() as u64)
        };
        self.held.write("expire_idempotency", expire).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.held.read("ping", |_| ()).await
    }
}
