//! Job that cancels orders whose payment does not come, because they hold stock that others could buy.
//!
//! Each order is cancelled in a transaction of its own, so that one that cannot be cancelled keeps no other; a crash
//! leaves the rest to the next run.

use std::time::Duration;

use base::time::earlier;
use jobs::{Backoff, Job, JobError, error::describe};
use serde::{Deserialize, Serialize};
use store::{StoreError, domain::OrderId, orders::Stale};

use super::Result;
use crate::{
    housekeeping::{
        ATTEMPTS_MAX, BACKOFF, EndedDue, HousekeepingContext, HousekeepingEnv, RUN_MAX, SINGLE_RUN,
        checked_now, end_due,
    },
    queues::HOUSEKEEPING,
};

/// Stale orders listed at once.
pub const ORDERS_SLICE: u32 = 50;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpireOrders {}

impl Job for ExpireOrders {
    type Env = HousekeepingEnv;
    const KIND: &'static str = "expire_orders";
    const QUEUE: &'static str = HOUSEKEEPING;
    const MAX_ATTEMPTS: u32 = ATTEMPTS_MAX;
    const TIMEOUT: Duration = RUN_MAX;
    const BACKOFF: Backoff = BACKOFF;

    fn unique_key(&self) -> Option<String> {
        Some(SINGLE_RUN.to_owned())
    }

    async fn run(&self, ctx: &HousekeepingContext) -> Result<()> {
        let now = checked_now(ctx).await?;
        let env = &ctx.env;
        let Some(expires) = env.pending_expires else { return Ok(()) };
        let debits_before = env.debit_expires.map(|expires| earlier(now, expires));
        let stale = Stale { before: earlier(now, expires), debits_before };
        let list_after = |after| env.orders.stale_orders(stale, after, ORDERS_SLICE);
        let expire = |id| env.orders.expire_order(id, debits_before, ctx.ambient.now());
        let report = |id: OrderId, error: StoreError| {
            tracing::error!(alarm = true, order.id = %id, error = describe(&error), "order cannot be expired");
        };
        let EndedDue { count, outage } = end_due(ctx, ORDERS_SLICE, list_after, expire, report).await;
        if count > 0 {
            tracing::info!(orders = count, "unpaid orders cancelled");
        }
        let Some(error) = outage else { return Ok(()) };
        tracing::warn!(error = describe(&error), "unpaid orders not cancelled; retrying later");
        Err(JobError::cancel(error))
    }
}
