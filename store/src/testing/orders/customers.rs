//! [`Customers`]: registered customers.

use async_trait::async_trait;
use base::Ambient;

use super::{MemoryOrders, state::State};
use crate::{
    customers::{Account, Customers, NewAccount, Registration, email_key},
    domain::{CustomerId, MerchantId},
    engine::{Damage, messages::Messages},
    error::StoreError,
};

#[async_trait]
impl Customers for MemoryOrders {
    async fn register(&self, new: NewAccount) -> Result<Registration, StoreError> {
        let ambient = self.ambient.clone();
        self.held.write("register", move |state, _| register(state, &ambient, new)).await
    }

    async fn customer_by_email(
        &self,
        merchant: MerchantId,
        email: &str,
    ) -> Result<Option<Account>, StoreError> {
        self.held.read("customer_by_email", |state| by_email(state, merchant, email).cloned()).await
    }

    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>, StoreError> {
        let find = |state: &State| state.customers.get(&id).map(|row| row.account.clone());
        self.held.read("customer_by_id", find).await
    }
}

fn by_email<'a>(state: &'a State, merchant: MerchantId, email: &str) -> Option<&'a Account> {
    let key = email_key(email);
    let mut accounts = state.customers.values().map(|row| &row.account);
    accounts.find(|account| account.merchant == merchant && email_key(&account.customer.email) == key)
}

fn register(state: &mut State, ambient: &Ambient, new: NewAccount) -> Result<Registration, Damage> {
    let merchant = new.account.merchant;
    let by_key = state.customers.values().find(|row| {
        new.idempotency_key.is_some()
            && row.account.merchant == merchant
            && row.idempotency_key == new.idempotency_key
    });
    // The key tells more than the address: a repeated request meets both.
    if let Some(known) = by_key {
        return Ok(Registration::KeyUsed(Box::new(known.account.clone())));
    }
    if by_email(state, merchant, &new.account.customer.email).is_some() {
        return Ok(Registration::EmailTaken);
    }
    let mut messages = Messages::new(ambient, new.account.created_at);
    messages.registered(&new.account, new.trace);
    state.customers.insert(new.account.id, new);
    state.tell(messages)?;
    Ok(Registration::Registered)
}
