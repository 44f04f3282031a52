//! [`Orders`]: the reads, and each write as one unit of work.

use async_trait::async_trait;
use base::{Timestamp, ids};
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, OrderToken, Page, PageRequest, PaymentId, RefundId},
    error::Result,
    orders::{
        CaptureFacts, DisputeFacts, IDEMPOTENCY_KEEP, IdempotencyKey, NewOrder, OrderFilter, Orders,
        PlaceOutcome, RefundFacts, RefundRequested, Stale, Transition,
    },
    rules::columns::Columns,
};

use super::{
    SqliteOrders,
    fault::to_json,
    order_records, order_row,
    place_order::{self, NotPlaced},
    refunds, transitions,
};

pub(super) const LIST: &str =
    "SELECT * FROM orders WHERE merchant_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
pub(super) const LIST_BY_STATUS: &str =
    "SELECT * FROM orders WHERE merchant_id = ?1 AND id < ?2 AND status = ?4 ORDER BY id DESC LIMIT ?3";
pub(super) const LIST_OF_CUSTOMER: &str = "
    SELECT * FROM orders WHERE merchant_id = ?1 AND customer_id = ?5 AND id < ?2 AND (?4 IS NULL OR status = ?4)
    ORDER BY id DESC LIMIT ?3";

pub(super) const EXPIRE: &str = "
    DELETE FROM idempotency_keys WHERE rowid IN (
        SELECT rowid FROM idempotency_keys
        WHERE created_at < min(?1, (SELECT max(created_at) FROM idempotency_keys)) - ?3 ORDER BY created_at LIMIT ?2)";

const REPLACE_TOKEN: &str =
    "UPDATE orders SET token_hash = ?3, token_expires_at = ?4 WHERE merchant_id = ?1 AND id = ?2";

/// Sorts after every id: ids end in hexadecimal digits.
pub(super) const AFTER_ALL_IDS: &str = "~";

#[async_trait]
impl Orders for SqliteOrders {
    async fn place_order(&self, order: NewOrder) -> Result<PlaceOutcome> {
        let Some(held) = self.in_flight.hold(order.merchant, &order.idempotency.key) else {
            return Ok(PlaceOutcome::InFlight);
        };
        let placed = self.write(order.at, move |unit| {
            Box::pin(async move {
                let placed = place_order::place(unit, order).await?;
                // Returned with the result, so that the key stays in flight until the commit, even if the caller is
                // gone.
                Ok::<_, NotPlaced>((placed, held))
            })
        });
        match placed.await {
            Ok(((order, body), _held)) => Ok(PlaceOutcome::Placed { order: Box::new(order), body }),
            Err(NotPlaced::Answer(answer)) => Ok(answer),
            Err(NotPlaced::Fault(fault)) => Err(fault.into()),
        }
    }

    async fn answered(&self, merchant: MerchantId, key: &IdempotencyKey) -> Result<Option<PlaceOutcome>> {
        self.first(place_order::record_of(merchant, key), |row| place_order::recorded(row, key)).await
    }

    async fn order(&self, merchant: MerchantId, id: OrderId) -> Result<Option<Order>> {
        self.first(order_row::of_merchant(merchant, id), order_row::order).await
    }

    async fn order_by_id(&self, id: OrderId) -> Result<Option<Order>> {
        self.first(order_row::by_id(id), order_row::order).await
    }

    async fn statuses(&self, orders: &[OrderId]) -> Result<Vec<(OrderId, OrderStatus)>> {
        let query = sqlx::query(order_records::STATUSES).bind(to_json(orders)?);
        self.all(query, |row| Ok((row.id("id", OrderId)?, row.parsed("status")?))).await
    }

    async fn replace_order_token(
        &self,
        merchant: MerchantId,
        id: OrderId,
        token: Option<OrderToken>,
    ) -> Result<bool> {
        let query = sqlx::query(REPLACE_TOKEN)
            .bind(merchant.to_string())
            .bind(id.to_string())
            .bind(token.as_ref().map(|token| &token.hash[..]))
            .bind(token.map(|token| token.expires_at.as_millisecond()));
        Ok(self.run(query).await? > 0)
    }

    async fn orders(
        &self,
        merchant: MerchantId,
        filter: OrderFilter,
        page: PageRequest<OrderId>,
    ) -> Result<Page<Order>> {
        let list = |sql: &'static str| {
            sqlx::query(sql)
                .bind(merchant.to_string())
                .bind(page.after.map_or_else(|| AFTER_ALL_IDS.to_owned(), |id| id.to_string()))
                .bind(i64::from(page.limit) + 1)
        };
        let query = match (filter.customer, filter.status.map(OrderStatus::as_str)) {
            (Some(customer), status) => list(LIST_OF_CUSTOMER).bind(status).bind(customer.to_string()),
            (None, Some(status)) => list(LIST_BY_STATUS).bind(status),
            (None, None) => list(LIST),
        };
        Ok(Page::from_overfetched(self.all(query, order_row::order).await?, page.limit))
    }

    async fn mark_paid(&self, id: OrderId, facts: CaptureFacts, at: Timestamp) -> Result<Transition> {
        Ok(self.write(at, move |unit| Box::pin(transitions::mark_paid(unit, id, facts))).await?)
    }

    async fn mark_payment_failed(
        &self,
        id: OrderId,
        payment: PaymentId,
        code: &str,
        at: Timestamp,
    ) -> Result<Transition> {
        let code = code.to_owned();
        let failed =
            self.write(at, move |unit| Box::pin(transitions::mark_payment_failed(unit, id, payment, code)));
        Ok(failed.await?)
    }

    async fn fulfil(&self, id: OrderId, at: Timestamp) -> Result<Transition> {
        Ok(self.write(at, move |unit| Box::pin(transitions::fulfil(unit, id))).await?)
    }

    async fn cancel_until(
        &self,
        latest: OrderStatus,
        (merchant, id): (MerchantId, OrderId),
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition> {
        let reason = reason.to_owned();
        let cancel =
            self.write(at, move |unit| Box::pin(transitions::cancel(unit, merchant, id, reason, latest)));
        Ok(cancel.await?)
    }

    async fn stale_orders(&self, stale: Stale, after: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>> {
        let query = sqlx::query(transitions::STALE)
            .bind(OrderId(ids::floor(stale.before)).to_string())
            .bind(stale.before.as_millisecond())
            .bind(after.map_or_else(String::new, |id| id.to_string()))
            .bind(limit)
            .bind(stale.debits_before.map(Timestamp::as_millisecond));
        self.all(query, |row| row.id("id", OrderId)).await
    }

    async fn expire_order(
        &self,
        id: OrderId,
        debits_before: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<bool> {
        Ok(self.write(at, move |unit| Box::pin(transitions::expire(unit, id, debits_before))).await?)
    }

    async fn note_debit(&self, id: OrderId, at: Timestamp) -> Result<()> {
        let query = sqlx::query(transitions::NOTE_DEBIT).bind(id.to_string()).bind(at.as_millisecond());
        self.run(query).await?;
        Ok(())
    }

    async fn request_refund(
        &self,
        merchant: MerchantId,
        id: OrderId,
        refund: RefundId,
        amount_minor: Option<i64>,
        at: Timestamp,
    ) -> Result<RefundRequested> {
        let requested = self
            .write(at, move |unit| Box::pin(refunds::request(unit, (merchant, id), (refund, amount_minor))));
        Ok(requested.await?)
    }

    async fn record_refund(&self, id: OrderId, facts: RefundFacts, at: Timestamp) -> Result<Transition> {
        Ok(self.write(at, move |unit| Box::pin(refunds::record(unit, id, facts))).await?)
    }

    async fn record_dispute(&self, id: OrderId, facts: DisputeFacts, at: Timestamp) -> Result<Transition> {
        Ok(self.write(at, move |unit| Box::pin(refunds::record_dispute(unit, id, facts))).await?)
    }

    async fn expire_idempotency(&self, now: Timestamp, limit: u32) -> Result<u64> {
        let keep = i64::try_from(IDEMPOTENCY_KEEP.as_millis()).unwrap_or(i64::MAX);
        self.run(sqlx::query(EXPIRE).bind(now.as_millisecond()).bind(limit).bind(keep)).await
    }

    async fn ping(&self) -> Result<()> {
        // Through the writer: a file that can only be read is of no use to a checkout.
        self.run(sqlx::query("SELECT id FROM merchants LIMIT 1")).await?;
        Ok(())
    }
}
