//! [`Merchants`] and [`Mails`].

use async_trait::async_trait;
use base::Timestamp;
use store::{
    domain::MerchantId,
    error::StoreError,
    merchants::{KeyHash, KeyRecord, Merchants},
    orders::{MailRecord, MailSubject, Mails},
    rules::Damage,
};

use super::{MemoryOrders, state::OrdersState};

#[async_trait]
impl Merchants for MemoryOrders {
    async fn ensure_merchant(&self, id: MerchantId, name: &str, _at: Timestamp) -> Result<bool, StoreError> {
        let name = name.to_owned();
        let ensure = move |state: &mut OrdersState, _| {
            let fresh = !state.merchants.contains_key(&id);
            state.merchants.entry(id).or_insert(name);
            Ok(fresh)
        };
        self.held.write("ensure_merchant", ensure).await
    }

    async fn ensure_key(&self, key: &KeyRecord, hash: KeyHash, _at: Timestamp) -> Result<bool, StoreError> {
        let key = key.clone();
        let ensure = move |state: &mut OrdersState, _| {
            match state.keys.get(&hash) {
                Some(known) if known.merchant == key.merchant => return Ok(false),
                None if state.keys.values().all(|known| known.id != key.id) => {}
                _ => {
                    let id = key.id;
                    return Err(Damage(format!("key {id} is taken by another merchant or another secret")));
                }
            }
            state.keys.insert(hash, key);
            Ok(true)
        };
        self.held.write("ensure_key", ensure).await
    }

    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        self.held.read("key_by_hash", |state| state.keys.get(&hash).cloned()).await
    }

    async fn merchant_name(&self, id: MerchantId) -> Result<Option<String>, StoreError> {
        self.held.read("merchant_name", |state| state.merchants.get(&id).cloned()).await
    }
}

#[async_trait]
impl Mails for MemoryOrders {
    async fn mails(&self, subject: MailSubject) -> Result<Vec<MailRecord>, StoreError> {
        let mails = self.held.read("mails", |state| state.mails.get(&subject).cloned()).await?;
        let mut mails = mails.unwrap_or_default();
        mails.sort_by(|a, b| (a.sent_at, &a.template).cmp(&(b.sent_at, &b.template)));
        Ok(mails)
    }

    async fn record_mail(&self, subject: MailSubject, mail: MailRecord) -> Result<bool, StoreError> {
        let record = move |state: &mut OrdersState, _| {
            if matches!(subject, MailSubject::Customer(id) if !state.customers.contains_key(&id)) {
                return Ok(false);
            }
            let mails = state.mails.entry(subject).or_default();
            let fresh = mails.iter().all(|known| known.template != mail.template);
            if fresh {
                mails.push(mail);
            }
            Ok(fresh)
        };
        self.held.write("record_mail", record).await
    }
}
