//! [`Orders`]: the reads, and each write as one unit of work.

use async_trait::async_trait;
use base::Timestamp;
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, OrderToken, Page, PageRequest, PaymentId, RefundId},
    error::StoreError,
    orders::{CaptureFacts, NewOrder, Orders, PlaceOutcome, RefundFacts, RefundRequested, Transition},
};

use super::{
    SqliteOrders,
    fault::SqliteFault,
    order_row,
    place_order::{self, NotPlaced},
    refunds, transitions,
};

pub(super) const LIST: &str =
    "SELECT * FROM orders WHERE merchant_id = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
pub(super) const LIST_BY_STATUS: &str =
    "SELECT * FROM orders WHERE merchant_id = ?1 AND id < ?2 AND status = ?4 ORDER BY id DESC LIMIT ?3";

pub(super) const EXPIRE: &str = "
    DELETE FROM idempotency_keys WHERE rowid IN (
        SELECT rowid FROM idempotency_keys WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)";

/// Sorts after every id: ids end in hexadecimal digits.
pub(super) const AFTER_ALL_IDS: &str = "~";

#[async_trait]
impl Orders for SqliteOrders {
    async fn place_order(&self, order: NewOrder) -> Result<PlaceOutcome, StoreError> {
        let Some(held) = self.in_flight.hold(order.merchant, &order.idempotency.key) else {
            return Ok(PlaceOutcome::InFlight);
        };
        let ambient = self.ambient.clone();
        let unit = self.database.write(move |c| {
            Box::pin(async move {
                let placed = place_order::place(c, &ambient, order).await?;
                // Returned with the result, so that the key stays in flight until the commit, even if the caller is
                // gone.
                Ok::<_, NotPlaced>((placed, held))
            })
        });
        match unit.await {
            Ok(((order, body), _held)) => {
                self.notify();
                Ok(PlaceOutcome::Placed { order: Box::new(order), body })
            }
            Err(NotPlaced::Answer(answer)) => Ok(answer),
            Err(NotPlaced::Fault(fault)) => Err(fault.into()),
        }
    }

    async fn order(&self, merchant: MerchantId, id: OrderId) -> Result<Option<Order>, StoreError> {
        let query = sqlx::query("SELECT * FROM orders WHERE merchant_id = ?1 AND id = ?2");
        let query = query.bind(merchant.to_string()).bind(id.to_string());
        let row = query.fetch_optional(self.database.readers()).await.map_err(SqliteFault::from)?;
        Ok(row.as_ref().map(order_row::order).transpose()?)
    }

    async fn order_by_id(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let query = sqlx::query("SELECT * FROM orders WHERE id = ?1").bind(id.to_string());
        let row = query.fetch_optional(self.database.readers()).await.map_err(SqliteFault::from)?;
        Ok(row.as_ref().map(order_row::order).transpose()?)
    }

    async fn replace_order_token(
        &self,
        merchant: MerchantId,
        id: OrderId,
        token: Option<OrderToken>,
    ) -> Result<bool, StoreError> {
        let unit = self.database.write(move |c| {
            Box::pin(async move { order_row::replace_token(c, (merchant, id), token).await })
        });
        Ok(unit.await?)
    }

    async fn orders(
        &self,
        merchant: MerchantId,
        status: Option<OrderStatus>,
        page: PageRequest<OrderId>,
    ) -> Result<Page<Order>, StoreError> {
        let query = sqlx::query(if status.is_some() { LIST_BY_STATUS } else { LIST })
            .bind(merchant.to_string())
            .bind(page.after.map_or_else(|| AFTER_ALL_IDS.to_owned(), |id| id.to_string()))
            .bind(i64::from(page.limit) + 1);
        let query = if let Some(status) = status { query.bind(status.as_str()) } else { query };
        let rows = query.fetch_all(self.database.readers()).await.map_err(SqliteFault::from)?;
        let orders = rows.iter().map(order_row::order).collect::<Result<_, _>>()?;
        Ok(Page::from_overfetched(orders, page.limit))
    }

    async fn mark_paid(
        &self,
        id: OrderId,
        facts: CaptureFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let ambient = self.ambient.clone();
        let unit = self.database.write(move |c| {
            Box::pin(async move { transitions::mark_paid(c, &ambient, id, facts, at).await })
        });
        self.transition_result(unit.await)
    }

    async fn mark_payment_failed(
        &self,
        id: OrderId,
        payment: PaymentId,
        code: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let (ambient, facts) = (self.ambient.clone(), (payment, code.to_owned()));
        let unit = self.database.write(move |c| {
            Box::pin(async move { transitions::mark_payment_failed(c, &ambient, id, facts, at).await })
        });
        self.transition_result(unit.await)
    }

    async fn fulfil(&self, id: OrderId, at: Timestamp) -> Result<Transition, StoreError> {
        let ambient = self.ambient.clone();
        let unit = self
            .database
            .write(move |c| Box::pin(async move { transitions::fulfil(c, &ambient, id, at).await }));
        self.transition_result(unit.await)
    }

    async fn cancel(
        &self,
        merchant: MerchantId,
        id: OrderId,
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let (ambient, reason) = (self.ambient.clone(), reason.to_owned());
        let unit = self.database.write(move |c| {
            Box::pin(async move { transitions::cancel(c, &ambient, (merchant, id), &reason, at).await })
        });
        self.transition_result(unit.await)
    }

    async fn expire_pending(&self, before: Timestamp, limit: u32, at: Timestamp) -> Result<u64, StoreError> {
        let ambient = self.ambient.clone();
        let unit = self.database.write(move |c| {
            Box::pin(async move { transitions::expire(c, &ambient, before, limit, at).await })
        });
        let expired = unit.await?;
        if expired > 0 {
            self.notify();
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
        let (ambient, wish) = (self.ambient.clone(), (refund, amount_minor));
        let unit = self.database.write(move |c| {
            Box::pin(async move { refunds::request(c, &ambient, (merchant, id), wish, at).await })
        });
        let requested = unit.await?;
        if matches!(requested, RefundRequested::Accepted(..)) {
            self.notify();
        }
        Ok(requested)
    }

    async fn record_refund(
        &self,
        id: OrderId,
        facts: RefundFacts,
        at: Timestamp,
    ) -> Result<Transition, StoreError> {
        let ambient = self.ambient.clone();
        let unit = self
            .database
            .write(move |c| Box::pin(async move { refunds::record(c, &ambient, id, facts, at).await }));
        self.transition_result(unit.await)
    }

    async fn expire_idempotency(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let unit = self.database.write(move |c| {
            Box::pin(async move {
                let query = sqlx::query(EXPIRE).bind(before.as_millisecond()).bind(limit);
                let done = query.execute(c).await?;
                Ok::<_, SqliteFault>(done.rows_affected())
            })
        });
        Ok(unit.await?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        // Through the writer: a file that can only be read is of no use to a checkout.
        let unit = self.database.write(|c| {
            Box::pin(async move {
                sqlx::query("SELECT id FROM merchants LIMIT 1").fetch_optional(c).await?;
                Ok::<_, SqliteFault>(())
            })
        });
        Ok(unit.await?)
    }
}

impl SqliteOrders {
    /// Passes the transition on, and notifies relays; a rejected transition may have written as well (see
    /// [`Orders::mark_paid`]).
    fn transition_result(&self, moved: Result<Transition, SqliteFault>) -> Result<Transition, StoreError> {
        let moved = moved?;
        if matches!(moved, Transition::Now(_) | Transition::Refused(_)) {
            self.notify();
        }
        Ok(moved)
    }
}
