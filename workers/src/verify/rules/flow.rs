//! Rule I1: an accepted order ends. An order that is not in a terminal state needs a job that will advance it.

use jobs::engine::EngineError;
use store::domain::{Decision, EventKind, OrderStatus, Payment};

use super::window::AuditWindow;
use crate::{
    jobs::{ChargePayment, FulfilOrder},
    queues::{FULFILMENT, PAYMENTS},
    verify::{
        facts::Facts,
        finding::{Code, Finding, Repair},
    },
};

pub(super) fn check(
    facts: &Facts,
    look: &AuditWindow<'_>,
    findings: &mut Vec<Finding>,
) -> Result<(), EngineError> {
    let order = &facts.order;
    if !look.is_due(order.updated_at) {
        return Ok(());
    }
    let (code, job, queue, found) = match order.status {
        OrderStatus::Pending => {
            let job = look.job_for(facts, EventKind::OrderPlaced, &ChargePayment { order: order.id })?;
            let found =
                format!("pending since {}, payment {}", order.updated_at, state(facts.payment.as_ref()));
            (Code::PendingStuck, job, PAYMENTS, found)
        }
        OrderStatus::Paid => {
            let job = look.job_for(facts, EventKind::OrderPaid, &FulfilOrder { order: order.id })?;
            (Code::PaidStuck, job, FULFILMENT, format!("paid since {}", order.updated_at))
        }
        _ => return Ok(()),
    };
    let jobs = vec![job.id];
    let finding = Finding::of(order.id, code, found, Repair::Publish(Box::new(job)));
    findings.push(finding.unless(queue, jobs, order.updated_at));
    Ok(())
}

fn state(payment: Option<&Payment>) -> &'static str {
    match payment.map(|payment| payment.decision.as_ref()) {
        None => "not opened",
        Some(None) => "undecided",
        Some(Some(Decision::Captured { .. })) => "captured",
        Some(Some(Decision::Declined { .. })) => "declined",
    }
}
