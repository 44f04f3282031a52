//! [`Customers`]: registered customers.

use async_trait::async_trait;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    SqliteOrders, emit,
    fault::{Fault, get, parsed, time},
};
use crate::{
    customers::{Account, Customers, NewAccount, PasswordHash, Registration, email_key},
    domain::{Customer, CustomerId, MerchantId},
    engine::messages::Messages,
    error::StoreError,
};

const INSERT: &str = "
    INSERT INTO customers (merchant_id, id, email, email_key, name, password_hash, idempotency_key, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
pub(super) const BY_KEY: &str = "SELECT * FROM customers WHERE merchant_id = ?1 AND idempotency_key = ?2";
pub(super) const BY_EMAIL: &str = "SELECT * FROM customers WHERE merchant_id = ?1 AND email_key = ?2";
pub(super) const BY_ID: &str = "SELECT * FROM customers WHERE id = ?1";

#[async_trait]
impl Customers for SqliteOrders {
    async fn register(&self, new: NewAccount) -> Result<Registration, StoreError> {
        let ambient = self.ambient.clone();
        let unit = self.database.write(move |c| {
            Box::pin(async move {
                let registration = insert(c, &new).await?;
                if registration == Registration::Registered {
                    let mut messages = Messages::new(&ambient, new.account.created_at);
                    messages.registered(&new.account, new.trace);
                    emit::write(c, messages).await?;
                }
                Ok::<_, Fault>(registration)
            })
        });
        let registration = unit.await?;
        if registration == Registration::Registered {
            self.announce();
        }
        Ok(registration)
    }

    async fn customer_by_email(
        &self,
        merchant: MerchantId,
        email: &str,
    ) -> Result<Option<Account>, StoreError> {
        let query = sqlx::query(BY_EMAIL).bind(merchant.to_string()).bind(email_key(email));
        let row = query.fetch_optional(self.database.readers()).await.map_err(Fault::from)?;
        Ok(row.as_ref().map(account).transpose()?)
    }

    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>, StoreError> {
        let query = sqlx::query(BY_ID).bind(id.to_string());
        let row = query.fetch_optional(self.database.readers()).await.map_err(Fault::from)?;
        Ok(row.as_ref().map(account).transpose()?)
    }
}

async fn insert(c: &mut SqliteConnection, new: &NewAccount) -> Result<Registration, Fault> {
    let account = &new.account;
    let done = sqlx::query(INSERT)
        .bind(account.merchant.to_string())
        .bind(account.id.to_string())
        .bind(&account.customer.email)
        .bind(email_key(&account.customer.email))
        .bind(&account.customer.name)
        .bind(account.password_hash.as_phc())
        .bind(&new.idempotency_key)
        .bind(account.created_at.as_millisecond())
        .execute(&mut *c)
        .await?;
    if done.rows_affected() > 0 {
        return Ok(Registration::Registered);
    }
    // The key tells more than the address: a repeated request meets both.
    let Some(key) = &new.idempotency_key else { return Ok(Registration::EmailTaken) };
    let query = sqlx::query(BY_KEY).bind(account.merchant.to_string()).bind(key);
    Ok(match query.fetch_optional(c).await? {
        Some(row) => Registration::KeyUsed(Box::new(self::account(&row)?)),
        None => Registration::EmailTaken,
    })
}

fn account(row: &SqliteRow) -> Result<Account, Fault> {
    Ok(Account {
        id: parsed(row, "id")?,
        merchant: parsed(row, "merchant_id")?,
        customer: Customer { email: get(row, "email")?, name: get(row, "name")? },
        password_hash: PasswordHash::from_phc(get(row, "password_hash")?),
        created_at: time(row, "created_at")?,
    })
}
