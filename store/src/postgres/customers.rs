//! [`Customers`]: registered customers.

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::{
    PostgresOrders, emit,
    fault::Fault,
    moment::Moment,
    row::{get, id, time},
    unit::Unit,
};
use crate::{
    customers::{Account, Customers, NewAccount, PasswordHash, Registration, email_key},
    domain::{Customer, CustomerId, MerchantId},
    engine::messages::Messages,
    error::StoreError,
};

macro_rules! columns {
    () => {
        "id, merchant_id, email, name, password_hash, created_at"
    };
}

// Waits for a registration under way with the same address or key, and then sees it.
const INSERT: &str = "
    INSERT INTO customers (merchant_id, id, email, email_key, name, password_hash, idempotency_key, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
pub(super) const BY_KEY: &str =
    concat!("SELECT ", columns!(), " FROM customers WHERE merchant_id = $1 AND idempotency_key = $2");
pub(super) const BY_EMAIL: &str =
    concat!("SELECT ", columns!(), " FROM customers WHERE merchant_id = $1 AND email_key = $2");
pub(super) const BY_ID: &str = concat!("SELECT ", columns!(), " FROM customers WHERE id = $1");

#[async_trait]
impl Customers for PostgresOrders {
    async fn register(&self, new: NewAccount) -> Result<Registration, StoreError> {
        let registration = self.write(new, |unit, new| Box::pin(register(unit, new))).await?;
        if registration == Registration::Registered {
            self.wake.announce();
        }
        Ok(registration)
    }

    async fn customer_by_email(
        &self,
        merchant: MerchantId,
        email: &str,
    ) -> Result<Option<Account>, StoreError> {
        let row = self.row(sqlx::query(BY_EMAIL).bind(merchant.0).bind(email_key(email))).await?;
        Ok(row.as_ref().map(account).transpose()?)
    }

    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>, StoreError> {
        let row = self.row(sqlx::query(BY_ID).bind(id.0)).await?;
        Ok(row.as_ref().map(account).transpose()?)
    }
}

async fn register(unit: &mut Unit, new: &NewAccount) -> Result<Registration, Fault> {
    let account = &new.account;
    let query = sqlx::query(INSERT)
        .bind(account.merchant.0)
        .bind(account.id.0)
        .bind(&account.customer.email)
        .bind(email_key(&account.customer.email))
        .bind(&account.customer.name)
        .bind(account.password_hash.as_phc())
        .bind(&new.idempotency_key)
        .bind(Moment(account.created_at));
    if unit.run(query).await? == 0 {
        return why_not(unit, new).await;
    }
    let ambient = unit.ambient.clone();
    let mut messages = Messages::new(&ambient, account.created_at);
    messages.registered(account, new.trace);
    emit::write(unit, messages).await?;
    Ok(Registration::Registered)
}

/// The key tells more than the address: a repeated request meets both.
async fn why_not(unit: &mut Unit, new: &NewAccount) -> Result<Registration, Fault> {
    let Some(key) = &new.idempotency_key else { return Ok(Registration::EmailTaken) };
    let query = sqlx::query(BY_KEY).bind(new.account.merchant.0).bind(key);
    Ok(match unit.row(query).await? {
        Some(row) => Registration::KeyUsed(Box::new(account(&row)?)),
        None => Registration::EmailTaken,
    })
}

fn account(row: &PgRow) -> Result<Account, Fault> {
    Ok(Account {
        id: id(row, "id", CustomerId)?,
        merchant: id(row, "merchant_id", MerchantId)?,
        customer: Customer { email: get(row, "email")?, name: get(row, "name")? },
        password_hash: PasswordHash::from_phc(get(row, "password_hash")?),
        created_at: time(row, "created_at")?,
    })
}
