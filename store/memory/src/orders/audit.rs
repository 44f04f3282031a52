//! [`Audit`] in memory: scans and repairs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base::{Ambient, Timestamp, ids::floor};
use store::{
    audit::{
        Audit, AuditMark, AuditedEndpoint, OrderMoney, OrderRecords, OrderRefund, SETTLEMENTS_MAX,
        Settlement, StockCount,
    },
    domain::{EventId, MerchantId, OrderId},
    error::StoreError,
    orders::{Mails, Orders},
    outbox::{Outbox, OutboxBody},
    rules::{
        Damage,
        messages::Messages,
        reservations::of_lines,
        stock::of_order,
        transitions::{asked_by, is_called_off},
    },
    webhooks::Webhooks,
};

use super::{
    MemoryOrders, refunds,
    state::{OrderRow, OrdersState, ProductRow},
};
use crate::some;

#[async_trait]
impl Audit for MemoryOrders {
    async fn all_orders(&self, after: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>, StoreError> {
        let list = |state: &OrdersState| {
            let ids = state.orders.keys().copied().filter(|id| after.is_none_or(|after| *id > after));
            ids.take(some(limit)).collect()
        };
        self.held.read("all_orders", list).await
    }

    async fn touched_orders(
        &self,
        from: Timestamp,
        until: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<(EventId, OrderId)>, StoreError> {
        let from = after.unwrap_or(EventId(floor(from)));
        let list = |state: &OrdersState| {
            let all = state.outbox.iter().filter_map(|row| told_of(&row.body));
            let mut found: Vec<_> = all.filter(|(id, _)| *id > from && *id < EventId(floor(until))).collect();
            found.sort_unstable();
            found.truncate(some(limit));
            found
        };
        self.held.read("touched_orders", list).await
    }

    async fn order_money(&self, order: OrderId) -> Result<Option<OrderMoney>, StoreError> {
        self.held.read("order_money", |state| money(state, order)).await
    }

    async fn order_records(&self, orders: &[OrderId]) -> Result<Option<Vec<OrderRecords>>, StoreError> {
        let mut found = Vec::new();
        for id in orders.iter().copied() {
            let (Some(order), Some(money)) = (self.order_by_id(id).await?, self.order_money(id).await?)
            else {
                continue;
            };
            let (mails, events) = (self.mails(id.into()).await?, self.order_events(id, 0).await?);
            let attempts = self.attempts_of_order(id).await?;
            found.push(OrderRecords { order, money, mails, events, attempts });
        }
        Ok(Some(found))
    }

    async fn stored_orders(&self, orders: &[OrderId]) -> Result<Vec<OrderId>, StoreError> {
        let list =
            |state: &OrdersState| orders.iter().copied().filter(|id| state.orders.contains_key(id)).collect();
        self.held.read("stored_orders", list).await
    }

    async fn stock_counts(
        &self,
        after: Option<(MerchantId, String)>,
        limit: u32,
    ) -> Result<Vec<StockCount>, StoreError> {
        let count = |state: &OrdersState| {
            let held = held(state);
            let rows =
                state.products.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
            let counts = rows.map(|(key, row)| StockCount {
                merchant: key.0,
                sku: key.1.clone(),
                on_hand: row.product.on_hand,
                reserved: row.product.reserved,
                held: held.get(key).copied().unwrap_or(0),
            });
            counts.take(some(limit)).collect()
        };
        self.held.read("stock_counts", count).await
    }

    async fn open_orders_read_back(&self, _merchant: MerchantId) -> Result<bool, StoreError> {
        Ok(true)
    }

    async fn audited_endpoints(&self, merchant: MerchantId) -> Result<Vec<AuditedEndpoint>, StoreError> {
        let list = |state: &OrdersState| {
            let of_merchant = state.endpoints.values().filter(|endpoint| endpoint.merchant == merchant);
            let audited = of_merchant.map(|endpoint| AuditedEndpoint {
                id: endpoint.id,
                events: endpoint.events.clone(),
                enabled: endpoint.enabled,
                since: state.changed_at.get(&endpoint.id).copied().unwrap_or(endpoint.created_at),
            });
            audited.collect()
        };
        self.held.read("audited_endpoints", list).await
    }

    async fn repair_reservation(
        &self,
        merchant: MerchantId,
        sku: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let key = (merchant, sku.to_owned());
        let repair = move |state: &mut OrdersState, _| {
            let quantity = held(state).get(&key).copied().unwrap_or(0);
            let wrong =
                |row: &ProductRow| row.product.reserved != quantity && quantity <= row.product.on_hand;
            let is_wrong = state.products.get(&key).is_some_and(wrong);
            if is_wrong {
                state.change_product(key.0, &key.1, at, |row| row.product.reserved = quantity)?;
            }
            Ok(is_wrong)
        };
        self.held.write("repair_reservation", repair).await
    }

    async fn request_missing_refund(&self, order: OrderId, at: Timestamp) -> Result<bool, StoreError> {
        let ambient = self.ambient.clone();
        self.held
            .write("request_missing_refund", move |state, _| {
                request_missing_refund(state, &ambient, order, at)
            })
            .await
    }

    async fn settle(&self, order: OrderId, settlement: &Settlement) -> Result<bool, StoreError> {
        let settlement = settlement.clone();
        let settle = move |state: &mut OrdersState, _| {
            let row =
                state.orders.get_mut(&order).filter(|row| row.settlements.len() < some(SETTLEMENTS_MAX));
            Ok(row.map(|row| row.settlements.push(settlement)).is_some())
        };
        self.held.write("settle", settle).await
    }

    async fn audit_mark(&self) -> Result<Option<AuditMark>, StoreError> {
        self.held.read("audit_mark", |state| state.audit_mark.clone()).await
    }

    async fn set_audit_mark(&self, mark: &AuditMark) -> Result<(), StoreError> {
        let mark = mark.clone();
        let set = move |state: &mut OrdersState, _| {
            state.audit_mark = Some(mark);
            Ok(())
        };
        self.held.write("set_audit_mark", set).await
    }
}

fn told_of(body: &OutboxBody) -> Option<(EventId, OrderId)> {
    match body {
        OutboxBody::Event(event) => Some((event.id, event.order?)),
        OutboxBody::Command { id, command, .. } => Some((*id, command.order()?)),
        OutboxBody::Unreadable(_) => None,
    }
}

/// Units reserved by open orders and by carts.
fn held(state: &OrdersState) -> BTreeMap<(MerchantId, String), i64> {
    let mut held = BTreeMap::new();
    for row in state.orders.values().filter(|row| row.order.status.holds_reservation()) {
        for (sku, quantity) in of_order(&row.order) {
            *held.entry((row.order.merchant, sku.to_owned())).or_insert(0) += quantity;
        }
    }
    for ((merchant, _), row) in &state.reservations {
        for (sku, quantity) in of_lines(&row.lines) {
            *held.entry((*merchant, sku.to_owned())).or_insert(0) += quantity;
        }
    }
    held
}

fn money(state: &OrdersState, order: OrderId) -> Option<OrderMoney> {
    let row = state.orders.get(&order)?;
    let of_order = state.refunds.iter().filter(|((of, _), _)| *of == order);
    let mut refunds: Vec<_> = of_order
        .map(|((_, id), refund)| OrderRefund {
            id: *id,
            amount_minor: refund.amount_minor,
            requested_at: refund.requested_at,
            recorded_at: refund.recorded_at,
            failed_at: refund.failed.as_ref().map(|(at, _)| *at),
            command: None,
        })
        .collect();
    let commands = state.outbox.iter().filter_map(|row| match &row.body {
        OutboxBody::Command { id, command, .. } if command.order() == Some(order) => {
            Some(Ok::<_, Damage>((*id, command.clone())))
        }
        _ => None,
    });
    asked_by(&mut refunds, commands);
    let unsent = state.unsent.iter().filter_map(|position| state.row(*position));
    let unsent = unsent.filter(|row| told_of(&row.body).is_some_and(|(_, of)| of == order));
    Some(OrderMoney {
        capture: row.capture.clone(),
        refunds,
        unsent_since: unsent.map(|row| row.at).min(),
        settlements: row.settlements.clone(),
    })
}

fn request_missing_refund(
    state: &mut OrdersState,
    ambient: &Ambient,
    id: OrderId,
    at: Timestamp,
) -> Result<bool, Damage> {
    let Some(order) = state.find_order(id).filter(is_called_off) else {
        return Ok(false);
    };
    let Some(captured_minor) = state.orders.get(&id).and_then(OrderRow::captured_minor) else {
        return Ok(false);
    };
    let mut messages = Messages::new(ambient, at);
    refunds::give_back(state, &mut messages, &order, captured_minor)?;
    let asked = !messages.rows.is_empty();
    if asked {
        state.tell(messages)?;
    }
    Ok(asked)
}
