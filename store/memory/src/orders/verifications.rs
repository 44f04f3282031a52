//! [`Verifications`] in memory: verifications of mail addresses.

use async_trait::async_trait;
use base::{Ambient, Timestamp};
use store::{
    customers::{Account, PasswordHash, email_key},
    domain::{CustomerId, MerchantId, VerificationId},
    error::StoreError,
    rules::{
        Damage,
        messages::Messages,
        verifications::{Row, by_token, mint, mintable, opened, repeated},
    },
    token::TokenHash,
    verifications::{
        Minting, NewVerification, OpenAccount, PER_ADDRESS_MAX, Verification, VerificationRequested,
        Verifications,
    },
};

use super::{
    MemoryOrders,
    customers::by_email,
    state::{OrdersState, VerificationRow},
};

#[async_trait]
impl Verifications for MemoryOrders {
    async fn request_verification(&self, new: NewVerification) -> Result<VerificationRequested, StoreError> {
        let ambient = self.ambient.clone();
        self.held.write("request_verification", move |state, _| request(state, &ambient, new)).await
    }

    async fn mint_verification(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Minting, StoreError> {
        let mint = move |state: &mut OrdersState, _| Ok(mint_token(state, merchant, id, token, at));
        self.held.write("mint_verification", mint).await
    }

    async fn record_verification_mail(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let record = move |state: &mut OrdersState, _| {
            let found = state.verifications.get_mut(&id);
            if let Some(found) = found.filter(|found| found.row.verification.merchant == merchant) {
                found.row.mailed_at = Some(at);
            }
            Ok(())
        };
        self.held.write("record_verification_mail", record).await
    }

    async fn verification_by_token(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Option<Verification>, StoreError> {
        let find = move |state: &OrdersState| {
            let found = with_token(state, merchant, token)?.row.verification.clone();
            (found.expires_at() > at).then_some(found)
        };
        self.held.read("verification_by_token", find).await
    }

    async fn open_account(&self, open: OpenAccount) -> Result<Option<Account>, StoreError> {
        let ambient = self.ambient.clone();
        self.held.write("open_account", move |state, _| open_account(state, &ambient, &open)).await
    }

    async fn reset_password(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        password_hash: PasswordHash,
        at: Timestamp,
    ) -> Result<Option<CustomerId>, StoreError> {
        let reset = move |state: &mut OrdersState, _| {
            let rows =
                with_token(state, merchant, token).map(|found| of_address(state, &found.row.verification));
            let rows = rows.unwrap_or_default();
            let Some(asked) = by_token(&rows, token, true, at) else { return Ok(None) };
            clear(state, asked);
            let Some(id) = by_email(state, merchant, &asked.email).map(|account| account.id) else {
                return Ok(None);
            };
            if let Some(account) = state.customers.get_mut(&id) {
                account.password_hash = password_hash;
            }
            Ok(Some(id))
        };
        self.held.write("reset_password", reset).await
    }

    async fn expire_verifications(&self, at: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let expire = move |state: &mut OrdersState, _| {
            let ends =
                state.verifications.iter().map(|(id, found)| (found.row.verification.expires_at(), *id));
            let mut old: Vec<_> = ends.filter(|(end, _)| *end <= at).collect();
            old.sort_unstable();
            old.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            for (_, id) in &old {
                state.verifications.remove(id);
            }
            Ok(old.len() as u64)
        };
        self.held.write("expire_verifications", expire).await
    }
}

fn request(
    state: &mut OrdersState,
    ambient: &Ambient,
    new: NewVerification,
) -> Result<VerificationRequested, Damage> {
    let asked = new.verification;
    let known = state.verifications.values().find(|known| {
        known.idempotency_key.is_some()
            && known.row.verification.merchant == asked.merchant
            && known.idempotency_key == new.idempotency_key
    });
    if let Some(known) = known {
        return Ok(repeated(&known.row.verification, &asked));
    }
    let mut messages = Messages::new(ambient, asked.created_at);
    messages.verification(&asked, new.trace)?;
    let row = Row { verification: asked.clone(), token: None, minted_at: None, mailed_at: None };
    let stored = VerificationRow { row, idempotency_key: new.idempotency_key };
    state.verifications.insert(asked.id, stored);
    let same = of_address(state, &asked).into_iter().map(|row| row.verification);
    let same = same.filter(|other| other.purpose.is_reset() == asked.purpose.is_reset());
    for surplus in same.rev().skip(PER_ADDRESS_MAX) {
        state.verifications.remove(&surplus.id);
    }
    state.tell(messages)?;
    Ok(VerificationRequested::Stored)
}

fn mint_token(
    state: &mut OrdersState,
    merchant: MerchantId,
    id: VerificationId,
    token: TokenHash,
    at: Timestamp,
) -> Minting {
    let found = state.verifications.get(&id).map(|found| &found.row.verification);
    let found = found.filter(|found| found.merchant == merchant);
    let rows = found.map(|found| of_address(state, found)).unwrap_or_default();
    let asked = match mintable(&rows, id, at) {
        Ok(row) => &row.verification,
        Err(answer) => return answer,
    };
    let account = by_email(state, merchant, &asked.email).cloned();
    let what = mint(asked, account.as_ref());
    if what.clear_others {
        clear(state, asked);
    }
    if let Some(found) = state.verifications.get_mut(&id) {
        found.row.token = what.keep_token.then_some(token);
        found.row.minted_at = Some(at);
    }
    Minting::Minted { verification: Box::new(asked.clone()), account: account.map(Box::new) }
}

fn open_account(
    state: &mut OrdersState,
    ambient: &Ambient,
    open: &OpenAccount,
) -> Result<Option<Account>, Damage> {
    let found = with_token(state, open.merchant, open.token);
    let rows = found.map(|found| of_address(state, &found.row.verification)).unwrap_or_default();
    let Some(asked) = by_token(&rows, open.token, false, open.at) else { return Ok(None) };
    let Some(account) = opened(asked, open) else { return Ok(None) };
    clear(state, asked);
    if by_email(state, open.merchant, &asked.email).is_some() {
        return Ok(None);
    }
    let mut messages = Messages::new(ambient, account.created_at);
    messages.registered(&account, open.trace.clone());
    state.customers.insert(account.id, account.clone());
    state.tell(messages)?;
    Ok(Some(account))
}

fn with_token(state: &OrdersState, merchant: MerchantId, token: TokenHash) -> Option<&VerificationRow> {
    state
        .verifications
        .values()
        .find(|found| found.row.verification.merchant == merchant && found.row.token == Some(token))
}

/// The rows of an address, oldest first.
fn of_address(state: &OrdersState, of: &Verification) -> Vec<Row> {
    let key = email_key(&of.email);
    let rows = state.verifications.values().map(|found| &found.row);
    let same = rows
        .filter(|row| row.verification.merchant == of.merchant && email_key(&row.verification.email) == key);
    same.cloned().collect()
}

fn clear(state: &mut OrdersState, asked: &Verification) {
    for row in of_address(state, asked) {
        if row.verification.purpose.is_reset() == asked.purpose.is_reset()
            && let Some(found) = state.verifications.get_mut(&row.verification.id)
        {
            found.row.token = None;
        }
    }
}
