//! [`Verifications`]: verification of mail addresses.

use async_trait::async_trait;
use base::{Timestamp, sqlite::Query};
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

use super::{SqliteOrders, customers, fault::SqliteFault, transaction::Unit};
use crate::row::get;

const INSERT: &str = "
    INSERT INTO verifications (merchant_id, id, purpose, email, email_key, name, password_hash, idempotency_key,
        created_at, expires_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";
const SURPLUS: &str = "
    DELETE FROM verifications WHERE merchant_id = ?1 AND id IN (
        SELECT id FROM verifications WHERE merchant_id = ?1 AND email_key = ?2 AND purpose = ?3
        ORDER BY id DESC LIMIT -1 OFFSET ?4)";
pub(super) const BY_KEY: &str = "SELECT * FROM verifications WHERE merchant_id = ?1 AND idempotency_key = ?2";
pub(super) const BY_ID: &str = "SELECT * FROM verifications WHERE merchant_id = ?1 AND id = ?2";
pub(super) const BY_TOKEN: &str = "SELECT * FROM verifications WHERE merchant_id = ?1 AND token_hash = ?2";
pub(super) const OF_EMAIL: &str =
    "SELECT * FROM verifications WHERE merchant_id = ?1 AND email_key = ?2 ORDER BY id";
const MINT: &str =
    "UPDATE verifications SET token_hash = ?3, minted_at = ?4 WHERE merchant_id = ?1 AND id = ?2";
const MAILED: &str = "UPDATE verifications SET mailed_at = ?3 WHERE merchant_id = ?1 AND id = ?2";
const CLEAR: &str =
    "UPDATE verifications SET token_hash = NULL WHERE merchant_id = ?1 AND email_key = ?2 AND purpose = ?3";
pub(super) const EXPIRE: &str = "
    DELETE FROM verifications WHERE rowid IN (
        SELECT rowid FROM verifications WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";

#[async_trait]
impl Verifications for SqliteOrders {
    async fn request_verification(&self, new: NewVerification) -> Result<VerificationRequested> {
        let at = new.verification.created_at;
        Ok(self.write(at, move |unit| Box::pin(request(unit, new))).await?)
    }

    async fn mint_verification(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Minting> {
        Ok(self.write(at, move |unit| Box::pin(mint_token(unit, merchant, id, token))).await?)
    }

    async fn record_verification_mail(
        &self,
        merchant: MerchantId,
        id: VerificationId,
        at: Timestamp,
    ) -> Result<()> {
        let query = sqlx::query(MAILED).bind(merchant.to_string()).bind(id.to_string());
        self.run(query.bind(at.as_millisecond())).await?;
        Ok(())
    }

    async fn verification_by_token(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        at: Timestamp,
    ) -> Result<Option<Verification>> {
        let found = self.first(with_token(merchant, token), rows::verification).await?;
        Ok(found.map(|row| row.verification).filter(|found| found.expires_at() > at))
    }

    async fn open_account(&self, open: OpenAccount) -> Result<Option<Account>> {
        Ok(self.write(open.at, move |unit| Box::pin(open_account(unit, open))).await?)
    }

    async fn reset_password(
        &self,
        merchant: MerchantId,
        token: TokenHash,
        password_hash: PasswordHash,
        at: Timestamp,
    ) -> Result<Option<CustomerId>> {
        let reset = self.write(at, move |unit| {
            Box::pin(async move {
                let rows = of_address(unit, merchant, with_token(merchant, token)).await?;
                let Some(asked) = by_token(&rows, token, true, at) else { return Ok(None) };
                unit.run(clear(asked)).await?;
                customers::set_password(unit, merchant, &asked.email, &password_hash).await
            })
        });
        Ok(reset.await?)
    }

    async fn expire_verifications(&self, at: Timestamp, limit: u32) -> Result<u64> {
        self.run(sqlx::query(EXPIRE).bind(at.as_millisecond()).bind(limit)).await
    }
}

async fn request(unit: &mut Unit<'_>, new: NewVerification) -> Result<VerificationRequested, SqliteFault> {
    let asked = &new.verification;
    let (merchant, key) = (asked.merchant.to_string(), email_key(&asked.email));
    let (name, hash) = columns(&asked.purpose);
    let insert = sqlx::query(INSERT)
        .bind(&merchant)
        .bind(asked.id.to_string())
        .bind(asked.purpose.as_str())
        .bind(&asked.email)
        .bind(&key)
        .bind(name)
        .bind(hash)
        .bind(&new.idempotency_key)
        .bind(asked.created_at.as_millisecond())
        .bind(asked.expires_at().as_millisecond());
    if unit.run(insert).await? == 0 {
        let known = unit.row(sqlx::query(BY_KEY).bind(&merchant).bind(&new.idempotency_key)).await?;
        let known = known.ok_or_else(|| SqliteFault::corrupt(format!("{} is stored already", asked.id)))?;
        return Ok(repeated(&rows::verification(&known)?.verification, asked));
    }
    let kept = i64::try_from(PER_ADDRESS_MAX).unwrap_or(i64::MAX);
    let surplus = sqlx::query(SURPLUS).bind(&merchant).bind(&key).bind(asked.purpose.as_str()).bind(kept);
    unit.run(surplus).await?;
    unit.messages.verification(asked, new.trace)?;
    Ok(VerificationRequested::Stored)
}

/// All rows of the address of the row that `found` selects.
async fn of_address(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    found: Query<'_>,
) -> Result<Vec<Row>, SqliteFault> {
    let Some(row) = unit.row(found).await? else { return Ok(Vec::new()) };
    let key: &str = get(&row, "email_key")?;
    let rows = unit.rows(sqlx::query(OF_EMAIL).bind(merchant.to_string()).bind(key)).await?;
    rows.iter().map(rows::verification).collect()
}

async fn mint_token(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    id: VerificationId,
    token: TokenHash,
) -> Result<Minting, SqliteFault> {
    let found = sqlx::query(BY_ID).bind(merchant.to_string()).bind(id.to_string());
    let rows = of_address(unit, merchant, found).await?;
    let asked = match mintable(&rows, id, unit.messages.at) {
        Ok(row) => &row.verification,
        Err(answer) => return Ok(answer),
    };
    let account = unit.row(customers::by_email(merchant, &asked.email)).await?;
    let account = account.as_ref().map(rows::account).transpose()?;
    let what = mint(asked, account.as_ref());
    if what.clear_others {
        unit.run(clear(asked)).await?;
    }
    let token = what.keep_token.then(|| token.to_vec());
    let mint = sqlx::query(MINT).bind(merchant.to_string()).bind(id.to_string()).bind(token);
    unit.run(mint.bind(unit.at_ms())).await?;
    Ok(Minting::Minted { verification: Box::new(asked.clone()), account: account.map(Box::new) })
}

async fn open_account(unit: &mut Unit<'_>, open: OpenAccount) -> Result<Option<Account>, SqliteFault> {
    let rows = of_address(unit, open.merchant, with_token(open.merchant, open.token)).await?;
    let Some(asked) = by_token(&rows, open.token, false, open.at) else { return Ok(None) };
    let Some(account) = opened(asked, &open) else { return Ok(None) };
    unit.run(clear(asked)).await?;
    if !customers::insert(unit, &account).await? {
        return Ok(None);
    }
    unit.messages.registered(&account, open.trace);
    Ok(Some(account))
}

fn with_token(merchant: MerchantId, token: TokenHash) -> Query<'static> {
    sqlx::query(BY_TOKEN).bind(merchant.to_string()).bind(token.to_vec())
}

fn clear(asked: &Verification) -> Query<'static> {
    let query = sqlx::query(CLEAR).bind(asked.merchant.to_string()).bind(email_key(&asked.email));
    query.bind(asked.purpose.as_str())
}
