//! [`Customers`]: registered customers.

use async_trait::async_trait;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use store::{
    customers::{Account, Customers, PasswordHash, email_key},
    domain::{Customer, CustomerId, MerchantId},
    error::StoreError,
    event_data,
    rules::messages::told,
};

use super::{
    SqliteOrders,
    fault::{SqliteFault, get, parsed, time, to_json},
};

const INSERT: &str = "
    INSERT INTO customers (merchant_id, id, email, email_key, name, password_hash, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
const SET_PASSWORD: &str =
    "UPDATE customers SET password_hash = ?3 WHERE merchant_id = ?1 AND email_key = ?2 RETURNING id";
const OF_MERCHANT: &str = "SELECT * FROM customers WHERE merchant_id = ?1 AND id = ?2";
const DELETE_MAILS: &str = "DELETE FROM customer_mails WHERE customer_id = ?1";
const DELETE_VERIFICATIONS: &str = "DELETE FROM verifications WHERE merchant_id = ?1 AND email_key = ?2";
const DELETE: &str = "DELETE FROM customers WHERE id = ?1";
pub(super) const FORGET: &str = "UPDATE outbox SET data = ?3 WHERE id = ?1 AND merchant_id = ?2";
pub(super) const BY_EMAIL: &str = "SELECT * FROM customers WHERE merchant_id = ?1 AND email_key = ?2";
pub(super) const BY_ID: &str = "SELECT * FROM customers WHERE id = ?1";

#[async_trait]
impl Customers for SqliteOrders {
    async fn customer_by_email(
        &self,
        merchant: MerchantId,
        email: &str,
    ) -> Result<Option<Account>, StoreError> {
        let query = sqlx::query(BY_EMAIL).bind(merchant.to_string()).bind(email_key(email));
        let row = query.fetch_optional(self.database.readers()).await.map_err(SqliteFault::from)?;
        Ok(row.as_ref().map(account).transpose()?)
    }

    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>, StoreError> {
        let query = sqlx::query(BY_ID).bind(id.to_string());
        let row = query.fetch_optional(self.database.readers()).await.map_err(SqliteFault::from)?;
        Ok(row.as_ref().map(account).transpose()?)
    }

    async fn delete_account(&self, merchant: MerchantId, id: CustomerId) -> Result<bool, StoreError> {
        Ok(self.database.write(move |c| Box::pin(delete(c, merchant, id))).await?)
    }
}

/// Inserts an account; false when the address has one.
pub(super) async fn insert(c: &mut SqliteConnection, account: &Account) -> Result<bool, SqliteFault> {
    let done = sqlx::query(INSERT)
        .bind(account.merchant.to_string())
        .bind(account.id.to_string())
        .bind(&account.customer.email)
        .bind(email_key(&account.customer.email))
        .bind(&account.customer.name)
        .bind(account.password_hash.as_phc())
        .bind(account.created_at.as_millisecond())
        .execute(c)
        .await?;
    Ok(done.rows_affected() > 0)
}

pub(super) async fn by_email(
    c: &mut SqliteConnection,
    merchant: MerchantId,
    email: &str,
) -> Result<Option<Account>, SqliteFault> {
    let query = sqlx::query(BY_EMAIL).bind(merchant.to_string()).bind(email_key(email));
    query.fetch_optional(c).await?.as_ref().map(account).transpose()
}

/// Sets the password of the account of an address; `None` when there is no account.
pub(super) async fn set_password(
    c: &mut SqliteConnection,
    merchant: MerchantId,
    email: &str,
    hash: &PasswordHash,
) -> Result<Option<CustomerId>, SqliteFault> {
    let query =
        sqlx::query(SET_PASSWORD).bind(merchant.to_string()).bind(email_key(email)).bind(hash.as_phc());
    query.fetch_optional(c).await?.map(|row| parsed(&row, "id")).transpose()
}

async fn delete(c: &mut SqliteConnection, merchant: MerchantId, id: CustomerId) -> Result<bool, SqliteFault> {
    let query = sqlx::query(OF_MERCHANT).bind(merchant.to_string()).bind(id.to_string());
    let row = query.fetch_optional(&mut *c).await?;
    let Some(account) = row.as_ref().map(account).transpose()? else { return Ok(false) };
    sqlx::query(DELETE_MAILS).bind(id.to_string()).execute(&mut *c).await?;
    let pending = sqlx::query(DELETE_VERIFICATIONS).bind(merchant.to_string());
    pending.bind(email_key(&account.customer.email)).execute(&mut *c).await?;
    sqlx::query(DELETE).bind(id.to_string()).execute(&mut *c).await?;
    let left = to_json(&event_data::deleted_customer(id))?;
    let forget = sqlx::query(FORGET).bind(told(id).to_string()).bind(merchant.to_string()).bind(left);
    forget.execute(c).await?;
    Ok(true)
}

fn account(row: &SqliteRow) -> Result<Account, SqliteFault> {
    Ok(Account {
        id: parsed(row, "id")?,
        merchant: parsed(row, "merchant_id")?,
        customer: Customer { email: get(row, "email")?, name: get(row, "name")? },
        password_hash: PasswordHash::from_phc(get(row, "password_hash")?),
        created_at: time(row, "created_at")?,
    })
}
