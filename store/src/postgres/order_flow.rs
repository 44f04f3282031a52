//! [`Orders`]: the reads, and each write as one unit of work.

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid};

use super::{
    PostgresOrders,
    fault::PostgresFault,
    order_row::{self, columns},
    refunds,
    row::get,
    timestamps::Moment,
    transitions,
};
use crate::{
    domain::{MerchantId, Order, OrderId, OrderStatus, OrderToken, Page, PageRequest, PaymentId, RefundId},
    error::StoreError,
    orders::{CaptureFacts, NewOrder, Orders, PlaceOutcome, RefundFacts, RefundRequested, Transition},
};

pub(super) const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM orders WHERE merchant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
);
pub(super) const LIST_BY_STATUS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM orders WHERE merchant_id = $1 AND id < $2 AND status = $4 ORDER BY id DESC LIMIT $3"
);
// Skips rows that another process locked to delete. By ctid: locked rows keep theirs.
pub(super) const EXPIRE: &str = "
    DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))";
const PING: &str = "
    SELECT current_setting('transaction_read_only') = 'on' AS read_only, (SELECT id FROM merchants LIMIT 1) AS any";

#[async_trait]
impl Orders for PostgresOrders {
    async fn place_order(&self, order: NewOrder) -> Result<PlaceOutcome, StoreError> {
        let Some(_held) = self.in_flight.hold(order.merchant, &order.idempotency.key) else {
            return Ok(PlaceOutcome::InFlight);
        };
        let placement = self.place(order).await?;
        if matches!(placement, PlaceOutcome::Placed { .. }) {
            self.wake.notify();
        }
        Ok(placement)
    }

    async fn order(&self, merchant: MerchantId, id: OrderId) -> Result<Option<Order>, StoreError> {
        let row = self.row(sqlx::query(order_row::OF_MERCHANT).bind(id.0).bind(merchant.0)).await?;
        Ok(row.as_ref().map(order_row::order).transpose()?)
    }

    async fn order_by_id(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let row = self.row(sqlx::query(order_row::BY_ID).bind(id.0)).await?;
        Ok(row.as_ref().map(order_row::order).transpose()?)
    }

    async fn replace_order_token(
        &self,
        merchant: MerchantId,
        id: OrderId,
        token: Option<OrderToken>,
    ) -> Result<bool, StoreError> {
        let replaced = self.write(((merchant, id), token), |unit, (order, token)| {
            Box::pin(order_row::replace_token(unit, *order, token.as_ref()))
        });
        Ok(replaced.await?)
    }

    async fn orders(
        &self,
        merchant: MerchantId,
        status: Option<OrderStatus>,
        page: PageRequest<OrderId>,
    ) -> Result<Page<Order>, StoreError> {
        let query = sqlx::query(if status.is_some() { LIST_BY_STATUS } else { LIST })
            .bind(merchant.0)
            .bind(page.after.map_or(Uuid::max(), |id| id.0))
            .bind(i64::from(page.limit) + 1);
        let query = if let Some(status) = status { query.bind(status.as_str()) } else { query };
        let orders = self.rows(query).await?.iter().map(order_row::order).collect::<Result<_, _>>()?;
        Ok(Page::from_overfetched(orders, page.limit))
    }

    async fn mark_paid(
        &self,
        id: OrderId,
        facts: CaptureFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let moved = self.write((id, facts, at), |unit, (id, facts, at)| {
            Box::pin(transitions::mark_paid(unit, *id, facts, *at))
        });
        self.transition_result(moved.await)
    }

    async fn mark_payment_failed(
        &self,
        id: OrderId,
        payment: PaymentId,
        code: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let moved = self.write((id, (payment, code), at), |unit, (id, facts, at)| {
            Box::pin(transitions::mark_payment_failed(unit, *id, *facts, *at))
        });
        self.transition_result(moved.await)
    }

    async fn fulfil(&self, id: OrderId, at: Timestamp) -> Result<Transition, StoreError> {
        let moved = self.write((id, at), |unit, (id, at)| Box::pin(transitions::fulfil(unit, *id, *at)));
        self.transition_result(moved.await)
    }

    async fn cancel(
        &self,
        merchant: MerchantId,
        id: OrderId,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let moved = self.write(((merchant, id), reason, at), |unit, (order, reason, at)| {
            Box::pin(transitions::cancel(unit, *order, reason, *at))
        });
        self.transition_result(moved.await)
    }

    async fn expire_pending(&self, before: Timestamp, limit: u32, at: Timestamp) -> Result<u64, StoreError> {
        let mut expired = 0;
        for id in self.stale(before, limit).await? {
            expired += u64::from(self.expire_order(id, at).await?);
        }
        Ok(expired)
    }

    async fn request_refund(
        &self,
        merchant: MerchantId,
        id: OrderId,
        refund: RefundId,
        amount_minor: Option<i64>,
        at: Timestamp,
    ) -> Result<RefundRequested, StoreError> {
        let requested = self
            .write(((merchant, id), (refund, amount_minor), at), |unit, (order, wish, at)| {
                Box::pin(refunds::request(unit, *order, *wish, *at))
            });
        let requested = requested.await?;
        if matches!(requested, RefundRequested::Accepted(..)) {
            self.wake.notify();
        }
        Ok(requested)
    }

    async fn record_refund(
        &self,
        id: OrderId,
        facts: RefundFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let moved = self
            .write((id, facts, at), |unit, (id, facts, at)| Box::pin(refunds::record(unit, *id, facts, *at)));
        self.transition_result(moved.await)
    }

    async fn expire_idempotency(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        Ok(self.run(sqlx::query(EXPIRE).bind(Moment(before)).bind(i64::from(limit))).await?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let row = self.row(sqlx::query(PING)).await?;
        // A standby that can only be read is of no use to a checkout.
        let read_only = row.as_ref().is_some_and(|row| get(row, "read_only").unwrap_or(false));
        if read_only { Err(PostgresFault::ReadOnly.into()) } else { Ok(()) }
    }
}

impl PostgresOrders {
    /// Passes the transition on, and notifies relays; a rejected transition may have written as well (see
    /// [`Orders::mark_paid`]).
    fn transition_result(&self, moved: Result<Transition, PostgresFault>) -> Result<Transition, StoreError> {
        let moved = moved?;
        if matches!(moved, Transition::Now(_) | Transition::Refused(_)) {
            self.wake.notify();
        }
        Ok(moved)
    }
}
