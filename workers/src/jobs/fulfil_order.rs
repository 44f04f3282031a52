//! Job that ships a paid order, in one transaction of the order store; repeating it changes nothing.

use std::time::Duration;

use jobs::{Job, JobError};
use serde::{Deserialize, Serialize};
use store::{
    domain::{OrderId, OrderStatus},
    orders::Transition,
};

use super::{Result, not_found};
use crate::{
    env::{Context, Env},
    queues::FULFILMENT,
};

/// Wait between two looks at an order whose refunds amount to its whole price and have not ended.
const HELD_WAIT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FulfilOrder {
    pub order: OrderId,
}

impl Job for FulfilOrder {
    type Env = Env;
    const KIND: &'static str = "fulfil_order";
    const QUEUE: &'static str = FULFILMENT;

    fn subject(&self) -> Option<String> {
        Some(self.order.to_string())
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        match ctx.env.orders.fulfil(self.order, ctx.ambient.now()).await? {
            Transition::Now(_) | Transition::Already(_) => Ok(()),
            // The job is published after `order.paid` was committed: the store has lost a commit, which the charge job
            // may record again.
            Transition::Refused(order) if order.status == OrderStatus::Pending => {
                Err(JobError::retry("order_not_yet_paid"))
            }
            // All of its money is on its way back: it ends as refunded, or is shipped once a refund has failed.
            Transition::Refused(order) if order.status == OrderStatus::Paid => {
                Err(JobError::Snooze(HELD_WAIT))
            }
            Transition::Refused(order) => Err(JobError::cancel(format!("order_{}", order.status))),
            Transition::NotFound => Err(not_found(ctx, "order")),
        }
    }
}
