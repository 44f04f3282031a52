//! [`Customers`] in memory: registered customers.

use async_trait::async_trait;
use store::{
    customers::{Account, Customers, email_key},
    domain::{CustomerId, EventKind, MerchantId},
    error::StoreError,
    event_data,
    orders::MailSubject,
    outbox::OutboxBody,
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
