//! [`Customers`]: registered customers.

use async_trait::async_trait;
use store::{
    customers::{Account, Customers, Erased, Erasure, ErasureRecord, PasswordHash, email_key},
    domain::{CustomerId, MerchantId},
    error::Result,
    event_data,
    rules::{columns::Columns, messages::told, rows},
};

use super::{
    PostgresOrders, erasures, fault, router::ReadMode, row::to_json, timestamps::Moment, transaction::Unit,
};

macro_rules! columns {
    () => {
        "id, merchant_id, email, name, password_hash, created_at"
    };
}

// Waits for a concurrent verification of the same address.
const INSERT: &str = "
    INSERT INTO customers (merchant_id, id, email, email_key, name, password_hash, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
const SET_PASSWORD: &str =
    "UPDATE customers SET password_hash = $3 WHERE merchant_id = $1 AND email_key = $2 RETURNING id";
const OF_MERCHANT: &str = select!(" FROM customers WHERE merchant_id = $1 AND id = $2 FOR UPDATE");
const DELETE_MAILS: &str = "DELETE FROM customer_mails WHERE customer_id = $1";
const DELETE_VERIFICATIONS: &str = "DELETE FROM verifications WHERE merchant_id = $1 AND email_key = $2";
const DELETE: &str = "DELETE FROM customers WHERE id = $1";
pub(super) const FORGET: &str = "UPDATE outbox SET data = $3::json WHERE id = $1 AND merchant_id = $2";
pub(super) const BY_EMAIL: &str = select!(" FROM customers WHERE merchant_id = $1 AND email_key = $2");
pub(super) const BY_ID: &str = select!(" FROM customers WHERE id = $1");

#[async_trait]
impl Customers for PostgresOrders {
    async fn customer_by_email(&self, merchant: MerchantId, email: &str) -> Result<Option<Account>> {
        let query = || sqlx::query(BY_EMAIL).bind(merchant.0).bind(email_key(email));
        Ok(self.router.row(merchant, ReadMode::Primary, query, rows::account).await?)
    }

    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>> {
        let query = || sqlx::query(BY_ID).bind(id.0);
        Ok(self.router.row(id, ReadMode::Primary, query, rows::account).await?)
    }

    async fn delete_account(&self, merchant: MerchantId, id: CustomerId) -> Result<bool> {
        let deleted = self
            .router
            .write(merchant, (merchant, id), |unit, (merchant, id)| Box::pin(delete(unit, *merchant, *id)));
        Ok(deleted.await?)
    }

    async fn erase_customer(&self, erasure: Erasure) -> Result<Erased> {
        let erased =
            self.router.write(erasure.merchant, erasure, |unit, erasure| Box::pin(erase(unit, erasure)));
        Ok(erased.await?)
    }

    async fn erasure(&self, merchant: MerchantId, id: CustomerId) -> Result<Option<ErasureRecord>> {
        let query = || sqlx::query(erasures::RECORD_OF).bind(merchant.0).bind(id.0);
        Ok(self.router.row(merchant, ReadMode::Primary, query, rows::erasure).await?)
    }
}

/// Inserts an account; false when the address has one.
pub(super) async fn insert(unit: &mut Unit, account: &Account) -> fault::Result<bool> {
    let query = sqlx::query(INSERT)
        .bind(account.merchant.0)
        .bind(account.id.0)
        .bind(&account.customer.email)
        .bind(email_key(&account.customer.email))
        .bind(&account.customer.name)
        .bind(account.password_hash.as_phc())
        .bind(Moment(account.created_at));
    Ok(unit.run(query).await? > 0)
}

pub(super) async fn by_email(
    unit: &mut Unit,
    merchant: MerchantId,
    email: &str,
) -> fault::Result<Option<Account>> {
    let row = unit.row(sqlx::query(BY_EMAIL).bind(merchant.0).bind(email_key(email))).await?;
    row.as_ref().map(rows::account).transpose()
}

/// Sets the password of the account of an address; `None` when there is no account.
pub(super) async fn set_password(
    unit: &mut Unit,
    merchant: MerchantId,
    email: &str,
    hash: &PasswordHash,
) -> fault::Result<Option<CustomerId>> {
    let query = sqlx::query(SET_PASSWORD).bind(merchant.0).bind(email_key(email)).bind(hash.as_phc());
    unit.row(query).await?.map(|row| row.id("id", CustomerId)).transpose()
}

async fn delete(unit: &mut Unit, merchant: MerchantId, id: CustomerId) -> fault::Result<bool> {
    let query = sqlx::query(OF_MERCHANT).bind(merchant.0).bind(id.0);
    let Some(row) = unit.row(query).await? else { return Ok(false) };
    let account = rows::account(&row)?;
    unit.run(sqlx::query(DELETE_MAILS).bind(id.0)).await?;
    let pending = sqlx::query(DELETE_VERIFICATIONS).bind(merchant.0).bind(email_key(&account.customer.email));
    unit.run(pending).await?;
    unit.run(sqlx::query(DELETE).bind(id.0)).await?;
    let left = to_json(&event_data::deleted_customer(id))?;
    unit.run(sqlx::query(FORGET).bind(told(id).0).bind(merchant.0).bind(left)).await?;
    Ok(true)
}

async fn erase(unit: &mut Unit, erasure: &Erasure) -> fault::Result<Erased> {
    let Erasure { merchant, customer, .. } = *erasure;
    let orders = erasures::open_orders(unit, merchant, customer).await?;
    if orders > 0 {
        return Ok(Erased::OrdersOpen { orders });
    }
    let was_there = delete(unit, merchant, customer).await?;
    let (orders, has_more) = erasures::erase_orders(unit, merchant, customer).await?;
    if !was_there && orders == 0 && !erasures::is_recorded(unit, merchant, customer).await? {
        return Ok(Erased::NotFound);
    }
    erasures::record(unit, erasure, orders).await?;
    Ok(Erased::Done { orders, has_more })
}
