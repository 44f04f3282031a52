//! Rule I1: an accepted order ends. An order that is not in a terminal state needs a job that will advance it.

use store::domain::{Decision, EventKind, OrderStatus, Payment};

use super::{Check, Result};
use crate::{
    jobs::{ChargePayment, FulfilOrder},
    verify::finding::{Code, Finding},
};

impl Check<'_> {
    pub(super) fn flow(&mut self) -> Result<()> {
        let order = &self.facts.order;
        if order.updated_at >= self.before {
            return Ok(());
        }
        let (code, job, found) = match order.status {
            OrderStatus::Pending => {
                let job = self.job_for(EventKind::OrderPlaced, &ChargePayment { order: order.id })?;
                let payment = state(self.facts.payment.as_ref());
                (Code::PendingStuck, job, format!("pending since {}, payment {payment}", order.updated_at))
            }
            OrderStatus::Paid => {
                let job = self.job_for(EventKind::OrderPaid, &FulfilOrder { order: order.id })?;
                (Code::PaidStuck, job, format!("paid since {}", order.updated_at))
            }
            _ => return Ok(()),
        };
        self.findings.push(Finding::missing(order.id, code, found, job, order.updated_at));
        Ok(())
    }
}

fn state(payment: Option<&Payment>) -> &'static str {
    match payment.map(|payment| payment.decision.as_ref()) {
        None => "not opened",
        Some(None) => "undecided",
        Some(Some(Decision::Captured { .. })) => "captured",
        Some(Some(Decision::Declined { .. })) => "declined",
    }
}
