//! [`Merchants`] and [`Mails`].

use std::cmp::Reverse;

use async_trait::async_trait;
use base::{Timestamp, time::later};
use store::{
    checkout::CheckoutSettings,
    domain::{KeyId, MerchantId},
    error::StoreError,
    merchants::{
        CardTestingFacts, KEY_USE_EVERY, KEYS_LISTED_MAX, KeyHash, KeyRecord, MerchantRecord, Merchants,
        NewKey, StoredKey, card_testing_event,
    },
    orders::{MailRecord, MailSubject, Mails},
    outbox::OutboxBody,
    rules::{Damage, messages::Messages},
};

use super::{MemoryOrders, state::OrdersState};

#[async_trait]
impl Merchants for MemoryOrders {
    async fn ensure_merchant(&self, id: MerchantId, name: &str, at: Timestamp) -> Result<bool, StoreError> {
        let name = name.to_owned();
        let ensure = move |state: &mut OrdersState, _| {
            let fresh = !state.merchants.contains_key(&id);
            state.merchants.entry(id).or_insert(MerchantRecord { id, name, created_at: at });
            Ok(fresh)
        };
        self.held.write("ensure_merchant", ensure).await
    }

    async fn create_key(&self, key: NewKey, at: Timestamp) -> Result<bool, StoreError> {
        let create = move |state: &mut OrdersState, _| {
            let (id, hash) = (key.record.id, key.hash);
            match state.keys.get(&hash) {
                Some(known) if known.record.merchant == key.record.merchant => return Ok(false),
                None if state.keys.values().all(|known| known.record.id != id) => {}
                _ => return Err(Damage(format!("key {id} is taken by another merchant or another secret"))),
            }
            state.keys.insert(hash, StoredKey::fresh(key, at));
            Ok(true)
        };
        self.held.write("create_key", create).await
    }

    async fn key_by_hash(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        let found = self.held.read("key_by_hash", |state| state.keys.get(&hash).cloned()).await?;
        Ok(found.and_then(StoredKey::live))
    }

    async fn keys(&self, merchant: MerchantId) -> Result<Vec<StoredKey>, StoreError> {
        let of_merchant = |state: &OrdersState| {
            let keys = state.keys.values().filter(|key| key.record.merchant == merchant);
            keys.cloned().collect::<Vec<_>>()
        };
        let mut keys = self.held.read("keys", of_merchant).await?;
        keys.sort_by_key(|key| Reverse(key.record.id));
        keys.truncate(usize::try_from(KEYS_LISTED_MAX).unwrap_or(usize::MAX));
        Ok(keys)
    }

    async fn revoke_key(&self, id: KeyId, at: Timestamp) -> Result<Option<StoredKey>, StoreError> {
        let revoke = move |state: &mut OrdersState, _| {
            let found = state.keys.values_mut().find(|key| key.record.id == id);
            Ok(found.map(|key| {
                key.revoked_at.get_or_insert(at);
                key.clone()
            }))
        };
        self.held.write("revoke_key", revoke).await
    }

    async fn note_key_use(&self, key: &KeyRecord, at: Timestamp) -> Result<(), StoreError> {
        let id = key.id;
        let note = move |state: &mut OrdersState, _| {
            let found = state.keys.values_mut().find(|key| key.record.id == id);
            if let Some(key) =
                found.filter(|key| key.last_used_at.is_none_or(|last| later(last, KEY_USE_EVERY) <= at))
            {
                key.last_used_at = Some(at);
            }
            Ok(())
        };
        self.held.write("note_key_use", note).await
    }

    async fn tell_card_testing(
        &self,
        merchant: MerchantId,
        facts: CardTestingFacts,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let (ambient, id) = (self.ambient.clone(), card_testing_event(merchant, at));
        let tell = move |state: &mut OrdersState, _| {
            let is = |body: &OutboxBody| matches!(body, OutboxBody::Event(event) if event.id == id);
            if !state.merchants.contains_key(&merchant) || state.outbox.iter().any(|row| is(&row.body)) {
                return Ok(false);
            }
            let mut messages = Messages::new(&ambient, at);
            messages.card_testing(merchant, &facts);
            state.tell(messages)?;
            Ok(true)
        };
        self.held.write("tell_card_testing", tell).await
    }

    async fn merchant(&self, id: MerchantId) -> Result<Option<MerchantRecord>, StoreError> {
        self.held.read("merchant", |state| state.merchants.get(&id).cloned()).await
    }

    async fn merchants(
        &self,
        after: Option<MerchantId>,
        limit: u32,
    ) -> Result<Vec<MerchantRecord>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let listed = |state: &OrdersState| {
            let later =
                state.merchants.values().filter(|merchant| after.is_none_or(|after| merchant.id > after));
            later.take(limit).cloned().collect::<Vec<_>>()
        };
        self.held.read("merchants", listed).await
    }

    async fn checkout_settings(&self, id: MerchantId) -> Result<Option<CheckoutSettings>, StoreError> {
        let find = |state: &OrdersState| {
            state.merchants.get(&id).map(|_| state.checkouts.get(&id).cloned().unwrap_or_default())
        };
        self.held.read("checkout_settings", find).await
    }

    async fn set_checkout_settings(
        &self,
        id: MerchantId,
        settings: &CheckoutSettings,
    ) -> Result<bool, StoreError> {
        let settings = settings.clone();
        let set = move |state: &mut OrdersState, _| {
            let is_there = state.merchants.contains_key(&id);
            if is_there {
                state.checkouts.insert(id, settings);
            }
            Ok(is_there)
        };
        self.held.write("set_checkout_settings", set).await
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
