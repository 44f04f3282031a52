//! [`Customers`] in memory: registered customers.

use async_trait::async_trait;
use store::{
    customers::{Account, Customers, ERASE_ORDERS_MAX, Erased, Erasure, ErasureRecord, email_key},
    domain::{Customer, CustomerId, EventKind, MerchantId, Order, OrderStatus},
    error::StoreError,
    event_data,
    orders::MailSubject,
    outbox::OutboxBody,
    rules::Damage,
};

use super::{MemoryOrders, state::OrdersState};

#[async_trait]
impl Customers for MemoryOrders {
    async fn customer_by_email(
        &self,
        merchant: MerchantId,
        email: &str,
    ) -> Result<Option<Account>, StoreError> {
        self.held.read("customer_by_email", |state| by_email(state, merchant, email).cloned()).await
    }

    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>, StoreError> {
        self.held.find("customer_by_id", |state| state.customers.get(&id).cloned()).await
    }

    async fn delete_account(&self, merchant: MerchantId, id: CustomerId) -> Result<bool, StoreError> {
        self.held.write("delete_account", move |state, _| Ok(delete(state, merchant, id))).await
    }

    async fn erase_customer(&self, erasure: Erasure) -> Result<Erased, StoreError> {
        self.held.write("erase_customer", move |state, _| erase(state, erasure)).await
    }

    async fn erasure(
        &self,
        merchant: MerchantId,
        id: CustomerId,
    ) -> Result<Option<ErasureRecord>, StoreError> {
        self.held.read("erasure", |state| state.erasures.get(&(merchant, id)).cloned()).await
    }
}

pub(super) fn by_email<'a>(state: &'a OrdersState, merchant: MerchantId, email: &str) -> Option<&'a Account> {
    let key = email_key(email);
    let mut accounts = state.customers.values();
    accounts.find(|account| account.merchant == merchant && email_key(&account.customer.email) == key)
}

fn delete(state: &mut OrdersState, merchant: MerchantId, id: CustomerId) -> bool {
    let Some(account) = state.customers.get(&id).filter(|account| account.merchant == merchant) else {
        return false;
    };
    let key = email_key(&account.customer.email);
    state.customers.remove(&id);
    state.mails.remove(&MailSubject::Customer(id));
    state.verifications.retain(|_, found| {
        let verification = &found.row.verification;
        verification.merchant != merchant || email_key(&verification.email) != key
    });
    for row in &mut state.outbox {
        if let OutboxBody::Event(event) = &mut row.body
            && event.kind == EventKind::CustomerRegistered
            && event_data::customer_id(&event.data) == Some(id)
        {
            event.data = event_data::deleted_customer(id);
        }
    }
    true
}

fn erase(state: &mut OrdersState, erasure: Erasure) -> Result<Erased, Damage> {
    let Erasure { merchant, customer, requested_by, at } = erasure;
    let of_customer = |order: &&Order| order.merchant == merchant && order.account == Some(customer);
    let is_open = |order: &&Order| matches!(order.status, OrderStatus::Pending | OrderStatus::Paid);
    let orders: Vec<Order> =
        state.orders.values().map(|row| &row.order).filter(of_customer).cloned().collect();
    let open = orders.iter().filter(is_open).count();
    if open > 0 {
        return Ok(Erased::OrdersOpen { orders: open as u64 });
    }
    let was_there = delete(state, merchant, customer);
    let left: Vec<&Order> = orders.iter().filter(|order| !order.customer.is_erased()).collect();
    let max = usize::try_from(ERASE_ORDERS_MAX).unwrap_or(usize::MAX);
    let (erased, has_more) = (left.len().min(max) as u64, left.len() > max);
    for order in left.iter().take(max) {
        state.change_order(order.id, order.updated_at, |row| {
            row.order.customer = Customer::erased();
            (row.order.shipping_address, row.order.reference, row.order.token) = (None, None, None);
        })?;
        for row in &mut state.outbox {
            if let OutboxBody::Event(event) = &mut row.body
                && event.order == Some(order.id)
                && event.kind.as_str().starts_with("order.")
            {
                event_data::erase_customer(&mut event.data);
            }
        }
    }
    let known = state.erasures.get(&(merchant, customer)).map(|record| record.orders);
    if !was_there && erased == 0 && known.is_none() {
        return Ok(Erased::NotFound);
    }
    let orders = known.unwrap_or_default() + erased;
    state.erasures.insert((merchant, customer), ErasureRecord { orders, requested_by, erased_at: at });
    Ok(Erased::Done { orders: erased, has_more })
}
