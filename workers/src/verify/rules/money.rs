//! Rule I2: a paid order has one capture, and its refunds never exceed it: in the order, in the payment, and in the
//! provider's ledger. Amounts are compared, never subtracted, and sums are checked for overflow: damaged data may hold
//! any amount.

use jobs::{Envelope, Job, JobId, engine::EngineError};
use store::{
    audit::OrderRefund,
    domain::{Decision, EventKind, OrderStatus, Payment, PaymentId, Refund, RefundId, RefundState},
};

use super::window::AuditWindow;
use crate::{
    jobs::{ChargePayment, RefundPayment},
    provider::{EntryKind, LedgerEntry, capture_key, refund_key},
    queues::PAYMENTS,
    subscriptions::job_id,
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
    capture(facts, look, findings)?;
    refund_sums(facts, findings);
    refunds(facts, look, findings)?;
    if let Some(ledger) = &facts.ledger {
        charges(facts, ledger, look, findings)?;
        ledger_refunds(facts, ledger, findings);
    }
    Ok(())
}

/// The provider's reference of a captured payment.
fn reference(payment: Option<&Payment>) -> Option<&str> {
    match payment?.decision.as_ref()? {
        Decision::Captured { provider_reference } => Some(provider_reference),
        Decision::Declined { .. } => None,
    }
}

fn capture(facts: &Facts, look: &AuditWindow<'_>, findings: &mut Vec<Finding>) -> Result<(), EngineError> {
    let (order, recorded) = (&facts.order, facts.money.capture.as_ref());
    let find = |code, found: String, repair| {
        Finding::of(order.id, code, found, repair).with("payment", PaymentId::of_order(order.id))
    };
    if let Some(payment) = &facts.payment {
        let same = (payment.amount_minor, payment.currency) == (order.total_minor, order.currency);
        if !same || recorded.is_some_and(|recorded| recorded.amount_minor != payment.amount_minor) {
            let found = format!(
                "order {} {}, payment {} {}, recorded {:?}",
                order.total_minor,
                order.currency,
                payment.amount_minor,
                payment.currency,
                recorded.map(|recorded| recorded.amount_minor)
            );
            findings.push(find(Code::AmountDiffers, found, Repair::Manual("settle the difference by hand")));
        }
    }
    match (reference(facts.payment.as_ref()), recorded) {
        (None, Some(_)) => {
            let found = format!("the order is {}, its payment is not captured", order.status);
            let people = Repair::Manual("look the charge up at the provider and restore the payment");
            findings.push(find(Code::CaptureMissing, found, people));
        }
        (Some(ours), Some(recorded)) if recorded.provider_reference != ours => {
            let found = format!("the order names {}, the payment {ours}", recorded.provider_reference);
            findings.push(find(Code::AmountDiffers, found, Repair::Manual("look both up at the provider")));
        }
        (Some(ours), None) if order.status == OrderStatus::Cancelled => {
            // The job applies the decision: it records the capture and requests the refund.
            let job = late_look(facts, look)?;
            let (jobs, found) =
                (charge_jobs(facts, look, &job)?, format!("captured as {ours} for a cancelled order"));
            let finding = find(Code::CaptureUnexpected, found, Repair::Publish(Box::new(job)));
            findings.push(finding.unless(PAYMENTS, jobs, order.updated_at));
        }
        (Some(ours), None) if order.status == OrderStatus::PaymentFailed => {
            let people = Repair::Manual("give the money back at the provider");
            findings.push(find(
                Code::CaptureUnexpected,
                format!("captured as {ours}, recorded as failed"),
                people,
            ));
        }
        // A pending order with a decision does not advance, which rule I1 reports.
        _ => {}
    }
    Ok(())
}

/// The job that looks up the outcome of a charge.
fn late_look(facts: &Facts, look: &AuditWindow<'_>) -> Result<Envelope, EngineError> {
    let kind = match facts.order.status {
        OrderStatus::Cancelled => EventKind::OrderCancelled,
        _ => EventKind::OrderPlaced,
    };
    look.job_for(facts, kind, &ChargePayment { order: facts.order.id })
}

/// All jobs that may be outstanding with the effect of `job`.
fn charge_jobs(facts: &Facts, look: &AuditWindow<'_>, job: &Envelope) -> Result<Vec<JobId>, EngineError> {
    let first = look.job_for(facts, EventKind::OrderPlaced, &ChargePayment { order: facts.order.id })?;
    Ok(vec![job.id, first.id])
}

/// `None` on overflow.
fn sum(amounts: impl IntoIterator<Item = i64>) -> Option<i64> {
    amounts.into_iter().try_fold(0_i64, i64::checked_add)
}

fn refund_sums(facts: &Facts, findings: &mut Vec<Finding>) {
    let (order, refunds) = (&facts.order, &facts.money.refunds);
    let captured = facts.money.capture.as_ref().map_or(0, |capture| capture.amount_minor);
    let asked = sum(refunds.iter().map(|refund| refund.amount_minor));
    let recorded = |refund: &&OrderRefund| refund.recorded_at.is_some();
    let recorded = sum(refunds.iter().filter(recorded).map(|refund| refund.amount_minor));
    let done = facts.refunds().iter().filter(|refund| refund.state == RefundState::Done);
    let done = sum(done.map(|refund| refund.amount_minor));
    let within = |sum: Option<i64>| sum.is_some_and(|sum| sum <= captured);
    if recorded != Some(order.refunded_minor) || !within(asked) || !within(done) {
        let found = format!(
            "captured {captured}, requested {asked:?}, recorded {recorded:?}, done {done:?}, the order says {}",
            order.refunded_minor
        );
        let people = Repair::Manual("settle the difference by hand");
        findings.push(Finding::of(order.id, Code::RefundSumDiffers, found, people));
    }
    let kept = asked.is_some_and(|asked| asked < captured.min(order.total_minor));
    if order.status == OrderStatus::Cancelled && kept {
        let found = format!("captured {captured}, refunds requested {asked:?}");
        findings.push(Finding::of(order.id, Code::MoneyKept, found, Repair::RequestMissingRefund(order.id)));
    }
}

fn refunds(facts: &Facts, look: &AuditWindow<'_>, findings: &mut Vec<Finding>) -> Result<(), EngineError> {
    let of_payment = |id: RefundId| facts.refunds().iter().find(|refund| refund.id == id);
    for asked in &facts.money.refunds {
        let state = of_payment(asked.id).map(|refund| refund.state);
        if asked.recorded_at.is_none() && look.is_due(asked.requested_at) {
            findings.push(stuck(facts, look, asked, state)?);
        } else if asked.recorded_at.is_some() && state != Some(RefundState::Done) {
            let found = format!("recorded in the order, {state:?} in the payment");
            let people = Repair::Manual("look the refund up at the provider");
            let finding = Finding::of(facts.order.id, Code::RefundSumDiffers, found, people);
            findings.push(finding.with("refund", asked.id));
        }
    }
    let unknown = |refund: &&Refund| facts.money.refunds.iter().all(|asked| asked.id != refund.id);
    for refund in facts.refunds().iter().filter(unknown).filter(|refund| look.is_due(refund.begun_at)) {
        let asked = OrderRefund {
            id: refund.id,
            amount_minor: refund.amount_minor,
            requested_at: refund.begun_at,
            recorded_at: None,
            command: None,
        };
        findings.push(stuck(facts, look, &asked, Some(refund.state))?);
    }
    Ok(())
}

fn stuck(
    facts: &Facts,
    look: &AuditWindow<'_>,
    asked: &OrderRefund,
    state: Option<RefundState>,
) -> Result<Finding, EngineError> {
    let order = &facts.order;
    let found =
        format!("{} requested at {}, {state:?} in the payment", asked.amount_minor, asked.requested_at);
    if state == Some(RefundState::Failed) {
        let people = Repair::Manual("the provider refuses it: give the money back another way");
        return Ok(Finding::of(order.id, Code::RefundStuck, found, people).with("refund", asked.id));
    }
    let job = RefundPayment { order: order.id, refund: asked.id, amount_minor: asked.amount_minor };
    let message = asked.command.map_or(asked.id.0, |command| command.0);
    let id = job_id(message, RefundPayment::KIND, &asked.id.to_string());
    let job = look.job_as(id, order, &job)?;
    let finding = Finding::of(order.id, Code::RefundStuck, found, Repair::Publish(Box::new(job)));
    Ok(finding.with("refund", asked.id).unless(PAYMENTS, vec![id], asked.requested_at))
}

fn charges(
    facts: &Facts,
    ledger: &[LedgerEntry],
    look: &AuditWindow<'_>,
    findings: &mut Vec<Finding>,
) -> Result<(), EngineError> {
    let (order, payment) = (&facts.order, facts.payment.as_ref());
    let charges = || ledger.iter().filter(|entry| entry.movement == EntryKind::Charge);
    let ours = reference(payment);
    if let (Some(ours), Some(payment)) = (ours, payment) {
        match charges().find(|entry| entry.id == ours) {
            None => {
                let people = Repair::Manual("ask the provider what became of the charge");
                let finding = Finding::of(
                    order.id,
                    Code::LedgerCaptureMissing,
                    "the ledger has no such charge",
                    people,
                );
                findings.push(finding.with("charge", ours));
            }
            Some(entry)
                if (entry.amount_minor, entry.currency) != (payment.amount_minor, payment.currency) =>
            {
                let found = format!(
                    "payment {} {}, ledger {} {}",
                    payment.amount_minor, payment.currency, entry.amount_minor, entry.currency
                );
                let people = Repair::Manual("settle the difference by hand");
                findings.push(Finding::of(order.id, Code::AmountDiffers, found, people).with("charge", ours));
            }
            Some(_) => {}
        }
    }
    for entry in charges().filter(|entry| Some(entry.id.as_str()) != ours && look.is_due(entry.at)) {
        let found = format!(
            "charged {} {} at {}, and no payment records it",
            entry.amount_minor, entry.currency, entry.at
        );
        let undecided = payment.is_none_or(|payment| payment.decision.is_none());
        let recordable = matches!(order.status, OrderStatus::Pending | OrderStatus::Cancelled)
            && entry.idempotency_key == capture_key(PaymentId::of_order(order.id));
        // Without a payment there is no attempt, and a cancelled order's job has no charge to look up.
        let finding = if undecided && recordable && payment.is_some() {
            let job = late_look(facts, look)?;
            let jobs = charge_jobs(facts, look, &job)?;
            Finding::of(order.id, Code::LedgerCaptureUnexpected, found, Repair::Publish(Box::new(job)))
                .unless(PAYMENTS, jobs, order.updated_at)
        } else {
            let people = Repair::Manual(
                "give this charge back at the provider, once you know that it is one too many",
            );
            Finding::of(order.id, Code::LedgerCaptureUnexpected, found, people)
        };
        findings.push(finding.with("charge", &entry.id));
    }
    Ok(())
}

fn ledger_refunds(facts: &Facts, ledger: &[LedgerEntry], findings: &mut Vec<Finding>) {
    let order = facts.order.id;
    let known = facts.refunds();
    let entries = || ledger.iter().filter(|entry| entry.movement == EntryKind::Refund);
    for refund in known.iter().filter(|refund| refund.state == RefundState::Done) {
        let entry = entries().find(|entry| entry.idempotency_key == refund_key(refund.id));
        if entry.is_none_or(|entry| entry.amount_minor != refund.amount_minor) {
            let told = entry.map(|entry| entry.amount_minor);
            let found = format!("{} refunded, the ledger has {told:?}", refund.amount_minor);
            let people = Repair::Manual("ask the provider what became of the refund");
            findings
                .push(Finding::of(order, Code::LedgerRefundMissing, found, people).with("refund", refund.id));
        }
    }
    for entry in entries() {
        if known.iter().all(|refund| entry.idempotency_key != refund_key(refund.id)) {
            let found = format!("{} refunded at {}, and no payment records it", entry.amount_minor, entry.at);
            let people = Repair::Manual("find out who gave it back, and record it");
            findings.push(
                Finding::of(order, Code::LedgerRefundUnexpected, found, people).with("entry", &entry.id),
            );
        }
    }
}
