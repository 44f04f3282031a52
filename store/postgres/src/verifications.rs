//! [`Verifications`]: verification of mail addresses. The rows of one address are locked together, oldest first.

use async_trait::async_trait;
use base::{Timestamp, postgres::Query};
use store::{
    customers::{Account, PasswordHash, email_key},
    domain::{CustomerId, MerchantId, VerificationId},
    error::Result,
    rules::{
        rows,
        verifications::{Row, by_token, columns, mint, mintable, opened, repeated},
    },
    token::TokenHash,
    verifications::{
        Minting, NewVerification, OpenAccount, PER_ADDRESS_MAX, Verification, VerificationRequested,
        Verifications,
    },
};

use super::{
    PostgresOrders, customers, fault::PostgresFault, router::ReadMode, row::get, timestamps::Moment,
    transaction::Unit,
};

// Waits for a concurrent request with the same key, and then sees its row.
const INSERT: &str = "
    INSERT INTO verifications (merchant_id, id, purpose, email, email_key, name, password_hash, idempotency_key,
        created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
const SURPLUS: &str = "
    DELETE FROM verifications WHERE merchant_id = $1 AND id = ANY (ARRAY(
        SELECT id FROM verifications WHERE merchant_id = $1 AND email_key = $2 AND purpose = $3
        ORDER BY id DESC OFFSET $4))";
/// The columns of a request; named, see `order_row`.
macro_rules! columns {
    () => {
        "merchant_id, id, purpose, email, email_key, name, password_hash, token_hash, minted_at, mailed_at, created_at"
    };
}
pub(super) const BY_KEY: &str =
    select!(" FROM verifications WHERE merchant_id = $1 AND idempotency_key = $2");
pub(super) const BY_ID: &str = select!(" FROM verifications WHERE merchant_id = $1 AND id = $2");
pub(super) const BY_TOKEN: &str = select!(" FROM verifications WHERE merchant_id = $1 AND token_hash = $2");
pub(super) const OF_EMAIL: &str =
    select!(" FROM verifications WHERE merchant_id = $1 AND email_key = $2 ORDER BY id FOR UPDATE");
const MINT: &str =
    "UPDATE verifications SET token_hash = $3, minted_at = $4 WHERE merchant_id = $1 AND id = $2";
const MAILED: &str = "UPDATE verifications SET mailed_at = $3 WHERE merchant_id = $1 AND id = $2";
const CLEAR: &str =
    "UPDATE verifications SET token_hash = NULL WHERE merchant_id = $1 AND email_key = $2 AND purpose = $3";
// Skips rows that another process locked to use or delete. By ctid: locked rows keep theirs.
pub(super) const EXPIRE: &str = "
    DELETE FROM verifications WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM verifications WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))";

#[async_trait]
impl Verifications for PostgresOrders {
    async fn request_verification(&self, new: NewVerification) -> Result<VerificationRequested> {
        let merchant = new.verification.merchant;
        Ok(self.router.write(merchant, new, |unit, new| Box::pin(request(unit, new))).await?)
    }

    async fn mint_verification(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Minting> {
        let facts = (merchant, id, token, at);
        let work = self.router.write(merchant, facts, |unit, (merchant, id, token, at)| {
            Box::pin(mint_token(unit, *merchant, *id, *token, *at))
        });
        Ok(work.await?)
    }

    async fn record_verification_mail(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        at: Timestamp,
    ) -> Result<()> {
        let query = || sqlx::query(MAILED).bind(merchant.0).bind(id.0).bind(Moment(at));
        self.router.run(merchant, query).await?;
        Ok(())
    }

    async fn verification_by_token(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Option<Verification>> {
        let query = || sqlx::query(BY_TOKEN).bind(merchant.0).bind(token.to_vec());
        let found = self.router.row(merchant, ReadMode::Primary, query, rows::verification).await?;
        Ok(found.map(|row| row.verification).filter(|found| found.expires_at() > at))
    }

    async fn open_account(&self, open: OpenAccount) -> Result<Option<Account>> {
        Ok(self.router.write(open.merchant, open, |unit, open| Box::pin(open_account(unit, open))).await?)
    }

    async fn reset_password(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        password_hash: PasswordHash,
        at: Timestamp,
    ) -> Result<Option<CustomerId>> {
        let facts = (merchant, token, password_hash, at);
        let work = self.router.write(merchant, facts, |unit, (merchant, token, hash, at)| {
            Box::pin(reset_password(unit, *merchant, *token, hash, *at))
        });
        Ok(work.await?)
    }

    async fn expire_verifications(&self, at: Timestamp, limit: u32) -> Result<u64> {
        Ok(self.router.in_turn(EXPIRE, at, limit).await?)
    }
}

async fn request(unit: &mut Unit, new: &NewVerification) -> Result<VerificationRequested, PostgresFault> {
    let asked = &new.verification;
    let (name, hash) = columns(&asked.purpose);
    let query = sqlx::query(INSERT)
        .bind(asked.merchant.0)
        .bind(asked.id.0)
        .bind(asked.purpose.as_str())
        .bind(&asked.email)
        .bind(email_key(&asked.email))
        .bind(name)
        .bind(hash)
        .bind(&new.idempotency_key)
        .bind(Moment(asked.created_at))
        .bind(Moment(asked.expires_at()));
    if unit.run(query).await? == 0 {
        let known = unit.row(sqlx::query(BY_KEY).bind(asked.merchant.0).bind(&new.idempotency_key)).await?;
        let known = known.ok_or_else(|| PostgresFault::Corrupt(format!("{} is stored already", asked.id)))?;
        return Ok(repeated(&rows::verification(&known)?.verification, asked));
    }
    let surplus = sqlx::query(SURPLUS).bind(asked.merchant.0).bind(email_key(&asked.email));
    let kept = i64::try_from(PER_ADDRESS_MAX).unwrap_or(i64::MAX);
    unit.run(surplus.bind(asked.purpose.as_str()).bind(kept)).await?;
    unit.messages(asked.created_at).verification(asked, new.trace.clone())?;
    Ok(VerificationRequested::Stored)
}

/// Locks all rows of the address of the row that `found` selects.
async fn of_address(
    unit: &mut Unit,
    merchant: MerchantId,
    found: Query<'_>,
) -> Result<Vec<Row>, PostgresFault> {
    let Some(row) = unit.row(found).await? else { return Ok(Vec::new()) };
    let key: String = get(&row, "email_key")?;
    let rows = unit.rows(sqlx::query(OF_EMAIL).bind(merchant.0).bind(key)).await?;
    rows.iter().map(rows::verification).collect()
}

async fn mint_token(
    unit: &mut Unit,
    merchant: MerchantId,
    id: VerificationId,
    token: TokenHash,
    at: Timestamp,
) -> Result<Minting, PostgresFault> {
    let rows = of_address(unit, merchant, sqlx::query(BY_ID).bind(merchant.0).bind(id.0)).await?;
    let asked = match mintable(&rows, id, at) {
        Ok(row) => &row.verification,
        Err(answer) => return Ok(answer),
    };
    let account = customers::by_email(unit, merchant, &asked.email).await?;
    let what = mint(asked, account.as_ref());
    if what.clear_others {
        unit.run(clear(asked)).await?;
    }
    let token = what.keep_token.then(|| token.to_vec());
    unit.run(sqlx::query(MINT).bind(merchant.0).bind(id.0).bind(token).bind(Moment(at))).await?;
    Ok(Minting::Minted { verification: Box::new(asked.clone()), account: account.map(Box::new) })
}

async fn open_account(unit: &mut Unit, open: &OpenAccount) -> Result<Option<Account>, PostgresFault> {
    let found = sqlx::query(BY_TOKEN).bind(open.merchant.0).bind(open.token.to_vec());
    let rows = of_address(unit, open.merchant, found).await?;
    let Some(asked) = by_token(&rows, open.token, false, open.at) else { return Ok(None) };
    let Some(account) = opened(asked, open) else { return Ok(None) };
    unit.run(clear(asked)).await?;
    if !customers::insert(unit, &account).await? {
        return Ok(None);
    }
    unit.messages(account.created_at).registered(&account, open.trace.clone());
    Ok(Some(account))
}

async fn reset_password(
    unit: &mut Unit,
    merchant: MerchantId,
    token: TokenHash,
    hash: &PasswordHash,
    at: Timestamp,
) -> Result<Option<CustomerId>, PostgresFault> {
    let found = sqlx::query(BY_TOKEN).bind(merchant.0).bind(token.to_vec());
    let rows = of_address(unit, merchant, found).await?;
    let Some(asked) = by_token(&rows, token, true, at) else { return Ok(None) };
    unit.run(clear(asked)).await?;
    customers::set_password(unit, merchant, &asked.email, hash).await
}

fn clear(asked: &Verification) -> Query<'_> {
    sqlx::query(CLEAR).bind(asked.merchant.0).bind(email_key(&asked.email)).bind(asked.purpose.as_str())
}
