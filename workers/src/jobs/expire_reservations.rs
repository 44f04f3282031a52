//! Job that releases what carts have reserved and not ordered in time, so that others can buy it.
//!
//! Each reservation is released in a transaction of its own, so that one that cannot be released keeps no other; a
//! crash leaves the rest to the next run. An order that takes a reservation over at the same time wins or loses as a
//! whole: the row of the reservation is deleted by one of the two.

use std::time::Duration;

use jobs::{Backoff, Job, JobError, error::describe};
use serde::{Deserialize, Serialize};
use store::{StoreError, reservations::EndedReservation};

use super::Result;
use crate::{
    housekeeping::{
        ATTEMPTS_MAX, BACKOFF, EndedDue, HousekeepingContext, HousekeepingEnv, RUN_MAX, SINGLE_RUN,
        checked_now, end_due,
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
        let now = checked_now(ctx).await?;
        let orders = &ctx.env.orders;
        let list_after = |after| orders.ended_reservations(now, after, RESERVATIONS_SLICE);
        let expire = |ended: EndedReservation| orders.expire_reservation(ended.merchant, ended.cart, now);
        let report = |ended: EndedReservation, error: StoreError| {
            let (cart, error) = (ended.cart, describe(&error));
            tracing::error!(alarm = true, cart.id = %cart, error, "reservation cannot be released");
        };
        let EndedDue { count, outage } = end_due(ctx, RESERVATIONS_SLICE, list_after, expire, report).await;
        if count > 0 {
            tracing::info!(reservations = count, "reservations of carts released");
        }
        let Some(error) = outage else { return Ok(()) };
        tracing::warn!(error = describe(&error), "reservations not released; retrying later");
        Err(JobError::cancel(error))
    }
}
