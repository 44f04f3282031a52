//! [`Customers`]: registered customers.

use async_trait::async_trait;
use base::sqlite::Query;
use store::{
    customers::{Account, Customers, Erased, Erasure, ErasureRecord, PasswordHash, email_key},
    domain::{CustomerId, MerchantId},
    error::Result,
    event_data,
    rules::{columns::Columns, messages::told, rows},
};

use super::{
    SqliteOrders, erasures,
    fault::{SqliteFault, to_json},
    transaction::Unit,
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
    async fn customer_by_email(&self, merchant: MerchantId, email: &str) -> Result<Option<Account>> {
        self.first(by_email(merchant, email), rows::account).await
    }

    async fn customer_by_id(&self, id: CustomerId) -> Result<Option<Account>> {
        self.first(sqlx::query(BY_ID).bind(id.to_string()), rows::account).await
    }

    async fn delete_account(&self, merchant: MerchantId, id: CustomerId) -> Result<bool> {
        let at = self.ambient.now();
        Ok(self.write(at, move |unit| Box::pin(delete(unit, merchant, id))).await?)
    }

    async fn erase_customer(&self, erasure: Erasure) -> Result<Erased> {
        Ok(self.write(erasure.at, move |unit| Box::pin(erase(unit, erasure))).await?)
    }

    async fn erasure(&self, merchant: MerchantId, id: CustomerId) -> Result<Option<ErasureRecord>> {
        self.first(erasures::record_of(merchant, id), rows::erasure).await
    }
}

/// Inserts an account; false when the address has one.
pub(super) async fn insert(unit: &mut Unit<'_>, account: &Account) -> Result<bool, SqliteFault> {
    let query = sqlx::query(INSERT)
        .bind(account.merchant.to_string())
        .bind(account.id.to_string())
        .bind(&account.customer.email)
        .bind(email_key(&account.customer.email))
        .bind(&account.customer.name)
        .bind(account.password_hash.as_phc())
        .bind(account.created_at.as_millisecond());
    Ok(unit.run(query).await? > 0)
}

pub(super) fn by_email(merchant: MerchantId, email: &str) -> Query<'static> {
    sqlx::query(BY_EMAIL).bind(merchant.to_string()).bind(email_key(email))
}

/// Sets the password of the account of an address; `None` when there is no account.
pub(super) async fn set_password(
    unit: &mut Unit<'_>,
    merchant: MerchantId,
    email: &str,
    hash: &PasswordHash,
) -> Result<Option<CustomerId>, SqliteFault> {
    let query =
        sqlx::query(SET_PASSWORD).bind(merchant.to_string()).bind(email_key(email)).bind(hash.as_phc());
    unit.row(query).await?.map(|row| row.id("id", CustomerId)).transpose()
}

async fn delete(unit: &mut Unit<'_>, merchant: MerchantId, id: CustomerId) -> Result<bool, SqliteFault> {
    let query = sqlx::query(OF_MERCHANT).bind(merchant.to_string()).bind(id.to_string());
    let Some(row) = unit.row(query).await? else { return Ok(false) };
    let key = email_key(&rows::account(&row)?.customer.email);
    unit.run(sqlx::query(DELETE_MAILS).bind(id.to_string())).await?;
    unit.run(sqlx::query(DELETE_VERIFICATIONS).bind(merchant.to_string()).bind(key)).await?;
    unit.run(sqlx::query(DELETE).bind(id.to_string())).await?;
    let left = to_json(&event_data::deleted_customer(id))?;
    unit.run(sqlx::query(FORGET).bind(told(id).to_string()).bind(merchant.to_string()).bind(left)).await?;
    Ok(true)
}

async fn erase(unit: &mut Unit<'_>, erasure: Erasure) -> Result<Erased, SqliteFault> {
    let Erasure { merchant, customer, .. } = erasure;
    let orders = erasures::open_orders(unit, merchant, customer).await?;
    if orders > 0 {
        return Ok(Erased::OrdersOpen { orders });
    }
    let was_there = delete(unit, merchant, customer).await?;
    let (orders, has_more) = erasures::erase_orders(unit, merchant, customer).await?;
    if !was_there && orders == 0 && !erasures::is_recorded(unit, merchant, customer).await? {
        return Ok(Erased::NotFound);
    }
    erasures::record(unit, &erasure, orders).await?;
    Ok(Erased::Done { orders, has_more })
}
