//! Job that cancels orders whose payment does not come, because they hold stock that others could buy.
//!
//! Each order is cancelled in a transaction of its own, so that one that cannot be cancelled keeps no other; a crash
//! leaves the rest to the next run.

use std::time::Duration;

use base::time::earlier;
use jobs::{Backoff, Job, JobError, error::describe};
use serde::{Deserialize, Serialize};
use store::orders::Stale;

use super::Result;
use crate::{
    housekeeping::{
        ATTEMPTS_MAX, BACKOFF, HousekeepingContext, HousekeepingEnv, RUN_MAX, SINGLE_RUN, check_clock,
        may_go_on,
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
        check_clock(ctx).await?;
        let (env, now) = (&ctx.env, ctx.ambient.now());
        let Some(expires) = env.pending_expires else { return Ok(()) };
        let debits_before = env.debit_expires.map(|expires| earlier(now, expires));
        let stale = Stale { before: earlier(now, expires), debits_before };
        let (mut after, mut expired, mut outage) = (None, 0_u64, None);
        while may_go_on(ctx, now) {
            let page = match env.orders.stale_orders(stale, after, ORDERS_SLICE).await {
                Ok(page) => page,
                Err(error) => {
                    outage = Some(error);
                    break;
                }
            };
            for id in &page {
                match env.orders.expire_order(*id, debits_before, ctx.ambient.now()).await {
                    Ok(is_expired) => expired += u64::from(is_expired),
                    // Others are tried all the same: an unavailable shard keeps its own orders only.
                    Err(error) if error.class().is_transient() => outage = Some(error),
                    Err(error) => {
                        tracing::error!(alarm = true, order.id = %id, error = describe(&error), "order cannot be expired");
                    }
                }
            }
            after = page.last().copied();
            if page.len() < ORDERS_SLICE as usize {
                break;
            }
        }
        if expired > 0 {
            tracing::info!(orders = expired, "unpaid orders cancelled");
        }
        let Some(error) = outage else { return Ok(()) };
        tracing::warn!(error = describe(&error), "unpaid orders not cancelled; retrying later");
        Err(JobError::cancel(error))
    }
}
