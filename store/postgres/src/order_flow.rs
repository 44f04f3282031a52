//! [`Orders`]: the reads, and each write as one unit of work.

use async_trait::async_trait;
use base::{Timestamp, ids::Uuid, postgres::Database};
use sqlx::postgres::PgRow;
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, OrderToken, Page, PageRequest, PaymentId, RefundId},
    error::Result,
    orders::{
        CLOCK_DIFFERENCE_MAX, CaptureFacts, DisputeFacts, IdempotencyKey, NewOrder, OrderFilter, Orders,
        PlaceOutcome, RefundFacts, RefundRequested, Stale, Transition,
    },
    rules::columns::Columns,
};

use super::{
    PostgresOrders,
    audit::merged,
    database::{OrderDatabase, Work},
    fault::{self, PostgresFault},
    order_records,
    order_row::{self, columns},
    place_order, refunds,
    router::{Owner, ReadMode},
    timestamps::Moment,
    transitions,
};

pub(super) const LIST: &str =
    select!(" FROM orders WHERE merchant_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
pub(super) const LIST_BY_STATUS: &str =
    select!(" FROM orders WHERE merchant_id = $1 AND id < $2 AND status = $4 ORDER BY id DESC LIMIT $3");
pub(super) const LIST_OF_CUSTOMER: &str = select!(
    " FROM orders WHERE merchant_id = $1 AND customer_id = $5 AND id < $2 AND ($4::text IS NULL OR status = $4)
    ORDER BY id DESC LIMIT $3"
);
pub(super) const REPLACE_TOKEN: &str =
    "UPDATE orders SET token_hash = $3, token_expires_at = $4 WHERE id = $1 AND merchant_id = $2";
// Keeps `IDEMPOTENCY_KEEP`. Skips rows that another process locked to delete. By ctid: locked rows keep theirs.
pub(super) const EXPIRE: &str = "
    DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM idempotency_keys
        WHERE created_at < least($1, now(), (SELECT max(created_at) FROM idempotency_keys)) - interval '24 hours'
        ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))";

#[async_trait]
impl Orders for PostgresOrders {
    async fn place_order(&self, order: NewOrder) -> Result<PlaceOutcome> {
        let Some(_held) = self.in_flight.hold(order.merchant, &order.idempotency.key) else {
            return Ok(PlaceOutcome::InFlight);
        };
        let (id, merchant) = (order.id, order.merchant);
        let place = |database: OrderDatabase| {
            let order = order.clone();
            async move { self.groups.place(database, order).await }
        };
        let placement = self.router.on_primary(Owner::Merchant(merchant), place).await?;
        if matches!(placement, PlaceOutcome::Placed { .. }) {
            self.router.note_owner(id, merchant).await;
        }
        Ok(placement)
    }

    async fn answered(&self, merchant: MerchantId, key: &IdempotencyKey) -> Result<Option<PlaceOutcome>> {
        let query = || sqlx::query(place_order::RECORDED).bind(merchant.0).bind(key.key.clone());
        let recorded = |row: &PgRow| place_order::recorded(row, key);
        Ok(self.router.row(merchant, ReadMode::Primary, query, recorded).await?)
    }

    async fn order(&self, merchant: MerchantId, id: OrderId) -> Result<Option<Order>> {
        let query = || sqlx::query(order_row::OF_MERCHANT).bind(id.0).bind(merchant.0);
        Ok(self.router.row(merchant, ReadMode::Replica, query, order_row::order).await?)
    }

    async fn order_by_id(&self, id: OrderId) -> Result<Option<Order>> {
        let query = || sqlx::query(order_row::BY_ID).bind(id.0);
        Ok(self.router.row(id, ReadMode::Primary, query, order_row::order).await?)
    }

    async fn statuses(&self, orders: &[OrderId]) -> Result<Vec<(OrderId, OrderStatus)>> {
        let read = |database: Database, ids: Vec<Uuid>| async move {
            let rows = database.rows(sqlx::query(order_records::STATUSES).bind(ids)).await?;
            rows.iter().map(status).collect::<fault::Result<Vec<_>>>()
        };
        let pages = self.router.read_together(orders, read).await?.unwrap_or_default();
        Ok(pages.into_iter().flatten().collect())
    }

    async fn replace_order_token(
        &self,
        merchant: MerchantId,
        id: OrderId,
        token: Option<OrderToken>,
    ) -> Result<bool> {
        let query = || {
            sqlx::query(REPLACE_TOKEN)
                .bind(id.0)
                .bind(merchant.0)
                .bind(token.map(|token| token.hash.to_vec()))
                .bind(token.map(|token| Moment(token.expires_at)))
        };
        Ok(self.router.run(merchant, query).await? > 0)
    }

    async fn orders(
        &self,
        merchant: MerchantId,
        filter: OrderFilter,
        page: PageRequest<OrderId>,
    ) -> Result<Page<Order>> {
        let list = |sql: &'static str| {
            sqlx::query(sql)
                .bind(merchant.0)
                .bind(page.after.map_or(Uuid::max(), |id| id.0))
                .bind(i64::from(page.limit) + 1)
        };
        let query = || match (filter.customer, filter.status.map(OrderStatus::as_str)) {
            (Some(customer), status) => list(LIST_OF_CUSTOMER).bind(status).bind(customer.0),
            (None, Some(status)) => list(LIST_BY_STATUS).bind(status),
            (None, None) => list(LIST),
        };
        let orders = self.router.rows(merchant, ReadMode::Replica, query, order_row::order).await?;
        Ok(Page::from_overfetched(orders, page.limit))
    }

    async fn mark_paid(&self, id: OrderId, facts: CaptureFacts, at: Timestamp) -> Result<Transition> {
        let paid = self.transition(id, (id, facts, at), |unit, (id, facts, at)| {
            Box::pin(transitions::mark_paid(unit, *id, facts, *at))
        });
        paid.await
    }

    async fn mark_payment_failed(
        &self,
        id: OrderId,
        payment: PaymentId,
        code: &str,
        at: Timestamp,
    ) -> Result<Transition> {
        let failed = self.transition(id, (id, (payment, code), at), |unit, (id, facts, at)| {
            Box::pin(transitions::mark_payment_failed(unit, *id, *facts, *at))
        });
        failed.await
    }

    async fn fulfil(&self, id: OrderId, at: Timestamp) -> Result<Transition> {
        let fulfilled =
            self.transition(id, (id, at), |unit, (id, at)| Box::pin(transitions::fulfil(unit, *id, *at)));
        fulfilled.await
    }

    async fn cancel_until(
        &self,
        latest: OrderStatus,
        order: (MerchantId, OrderId),
        reason: &str,
        at: Timestamp,
    ) -> Result<Transition> {
        let facts = (order, latest, reason, at);
        let cancelled = self.transition(order.0, facts, |unit, (order, latest, reason, at)| {
            Box::pin(transitions::cancel(unit, *order, *latest, reason, *at))
        });
        cancelled.await
    }

    /// An unavailable shard keeps its own orders only.
    async fn stale_orders(&self, stale: Stale, after: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>> {
        let (mut pages, mut failed) = (Vec::new(), None);
        for member in self.router.members() {
            match transitions::stale(member.primary.reads(), stale, after, limit).await {
                Ok(page) => pages.push(page),
                Err(fault) => failed = Some(fault),
            }
        }
        match failed {
            Some(fault) if pages.is_empty() => Err(fault.into()),
            _ => Ok(merged(pages, limit)),
        }
    }

    /// With shards on the shard of the order's merchant, as a shard also lists copies.
    async fn expire_order(
        &self,
        id: OrderId,
        debits_before: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<bool> {
        let expired = self.router.write(id, (id, debits_before, at), |unit, (id, debits_before, at)| {
            Box::pin(transitions::expire(unit, *id, *debits_before, *at))
        });
        Ok(expired.await?)
    }

    async fn note_debit(&self, id: OrderId, at: Timestamp) -> Result<()> {
        let noted = self
            .router
            .write(id, (id, at), |unit, (id, at)| Box::pin(transitions::note_debit(unit, *id, *at)));
        Ok(noted.await?)
    }

    async fn request_refund(
        &self,
        merchant: MerchantId,
        id: OrderId,
        refund: RefundId,
        amount_minor: Option<i64>,
        at: Timestamp,
    ) -> Result<RefundRequested> {
        let facts = ((merchant, id), (refund, amount_minor), at);
        let requested = self.router.write(merchant, facts, |unit, (order, wish, at)| {
            Box::pin(refunds::request(unit, *order, *wish, *at))
        });
        Ok(requested.await?)
    }

    async fn record_refund(&self, id: OrderId, facts: RefundFacts, at: Timestamp) -> Result<Transition> {
        let recorded = self.transition(id, (id, facts, at), |unit, (id, facts, at)| {
            Box::pin(refunds::record(unit, *id, facts, *at))
        });
        recorded.await
    }

    async fn record_dispute(&self, id: OrderId, facts: DisputeFacts, at: Timestamp) -> Result<Transition> {
        let recorded = self.transition(id, (id, facts, at), |unit, (id, facts, at)| {
            Box::pin(refunds::record_dispute(unit, *id, facts, *at))
        });
        recorded.await
    }

    async fn expire_idempotency(&self, now: Timestamp, limit: u32) -> Result<u64> {
        Ok(self.router.in_turn(EXPIRE, now, limit).await?)
    }

    async fn check_clock(&self, now: Timestamp) -> Result<()> {
        for member in self.router.members() {
            // A server that does not answer expires nothing either.
            let Ok(server) = member.primary.clock().await else { continue };
            let seconds = now.duration_since(server).as_secs();
            if seconds.unsigned_abs() > CLOCK_DIFFERENCE_MAX.as_secs() {
                return Err(PostgresFault::ClocksDiffer { seconds }.into());
            }
        }
        Ok(())
    }

    /// One shard that answers is enough: its merchants can order. [`PostgresOrders::health`] reports each shard.
    async fn ping(&self) -> Result<()> {
        let answers = self.health().await.into_iter().map(|(_, answer)| answer);
        answers.reduce(Result::or).unwrap_or(Ok(()))
    }
}

impl PostgresOrders {
    /// Changes an order. The answer names the merchant that then reads the order, also where the call does not.
    async fn transition<A: Sync>(
        &self,
        owner: impl Into<Owner>,
        facts: A,
        work: Work<A, Transition>,
    ) -> Result<Transition> {
        let answer = self.router.write(owner, facts, work).await?;
        if let Transition::Now(order) | Transition::Already(order) | Transition::Refused(order) = &answer {
            self.router.note_write(order.merchant);
        }
        Ok(answer)
    }
}

fn status(row: &PgRow) -> fault::Result<(OrderId, OrderStatus)> {
    Ok((row.id("id", OrderId)?, row.parsed("status")?))
}
