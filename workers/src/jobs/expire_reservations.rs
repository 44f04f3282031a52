//! Job that releases what carts have reserved and not ordered in time, so that others can buy it.
//!
//! Each reservation is released in a transaction of its own, so that one that cannot be released keeps no other; a
//! crash leaves the rest to the next run. An order that takes a reservation over at the same time wins or loses as a
//! whole: the row of the reservation is deleted by one of the two.

use std::time::Duration;

use jobs::{Backoff, Job, JobError, error::describe};
use serde::{Deserialize, Serialize};

use super::Result;
use crate::{
    housekeeping::{
        ATTEMPTS_MAX, BACKOFF, HousekeepingContext, HousekeepingEnv, RUN_MAX, SINGLE_RUN, check_clock,
        may_go_on,
    },
    queues::HOUSEKEEPING,
};

/// Reservations listed at once.
pub const RESERVATIONS_SLICE: u32 = 50;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpireReservations {}

impl Job for ExpireReservations {
    type Env = HousekeepingEnv;
    const KIND: &'static str = "expire_reservations";
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
        let (mut after, mut released, mut outage) = (None, 0_u64, None);
        while may_go_on(ctx, now) {
            let page = match env.orders.ended_reservations(now, after, RESERVATIONS_SLICE).await {
                Ok(page) => page,
                Err(error) => {
                    outage = Some(error);
                    break;
                }
            };
            for ended in &page {
                match env.orders.expire_reservation(ended.merchant, ended.cart, now).await {
                    Ok(is_released) => released += u64::from(is_released),
                    // Others are tried all the same: an unavailable shard keeps its own reservations only.
                    Err(error) if error.class().is_transient() => outage = Some(error),
                    Err(error) => {
                        tracing::error!(alarm = true, cart.id = %ended.cart, error = describe(&error), "reservation cannot be released");
                    }
                }
            }
            after = page.last().copied();
            if page.len() < RESERVATIONS_SLICE as usize {
                break;
            }
        }
        if released > 0 {
            tracing::info!(reservations = released, "reservations of carts released");
        }
        let Some(error) = outage else { return Ok(()) };
        tracing::warn!(error = describe(&error), "reservations not released; retrying later");
        Err(JobError::cancel(error))
    }
}
