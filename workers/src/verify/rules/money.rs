//! Rule I2: a paid order has one capture, and its refunds never exceed it: in the order, in the payment, and in the
//! provider's ledger. Amounts are compared, never subtracted, and sums are checked for overflow: damaged data may hold
//! any amount.

use base::Timestamp;
use jobs::Job;
use store::{
    audit::OrderRefund,
    domain::{EventKind, OrderStatus, PaymentId, Refund, RefundId, RefundState},
    rules::transitions::is_called_off,
};

use super::{Check, Result};
use crate::{
    jobs::{ApplyProviderReport, ChargePayment, RefundPayment},
    provider::{EntryKind, LedgerEntry, capture_key, refund_by_hand, refund_key},
    subscriptions::job_id,
    verify::{
        facts::captured_as,
        finding::{Code, Finding, Repair},
    },
};

impl Check<'_> {
    pub(super) fn money(&mut self) -> Result<()> {
        self.capture()?;
        self.refund_sums();
        self.refunds()?;
        if let Some(ledger) = &self.facts.ledger {
            self.charges(ledger)?;
            if !self.facts.elsewhere {
                self.ledger_refunds(ledger)?;
            }
        }
        Ok(())
    }

    fn capture(&mut self) -> Result<()> {
        let facts = self.facts;
        let (order, recorded) = (&facts.order, facts.money.capture.as_ref());
        let id = PaymentId::of_order(order.id);
        let manual =
            |code, found: String, what| Finding::manual(order.id, code, found, what).with("payment", id);
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
                self.findings.push(manual(Code::AmountDiffers, found, "settle the difference by hand"));
            }
        }
        match (facts.payment.as_ref().and_then(captured_as), recorded) {
            (None, Some(_)) => {
                let found = format!("the order is {}, its payment is not captured", order.status);
                let people = "look the charge up at the provider and restore the payment";
                self.findings.push(manual(Code::CaptureMissing, found, people));
            }
            (Some(ours), Some(recorded)) if recorded.provider_reference != ours => {
                let found = format!("the order names {}, the payment {ours}", recorded.provider_reference);
                self.findings.push(manual(Code::AmountDiffers, found, "look both up at the provider"));
            }
            (Some(ours), None)
                if matches!(order.status, OrderStatus::Cancelled | OrderStatus::PaymentFailed) =>
            {
                // The job applies the decision: it records the capture and requests the refund.
                let found = format!("captured as {ours} for an order that is {}", order.status);
                let finding = self.unless_looked_up(Code::CaptureUnexpected, found)?;
                self.findings.push(finding.with("payment", id));
            }
            // A pending order with a decision does not advance, which rule I1 reports.
            _ => {}
        }
        Ok(())
    }

    /// A finding that the job resolves which looks up the outcome of the charge, or the one that requested the charge.
    fn unless_looked_up(&self, code: Code, found: String) -> Result<Finding> {
        let order = &self.facts.order;
        let charge = ChargePayment { order: order.id };
        let kind = match order.status {
            OrderStatus::Cancelled => EventKind::OrderCancelled,
            _ => EventKind::OrderPlaced,
        };
        let (job, first) = (self.job_for(kind, &charge)?, self.job_for(EventKind::OrderPlaced, &charge)?);
        Ok(Finding::missing(order.id, code, found, job, order.updated_at).or(first.id))
    }

    fn refund_sums(&mut self) {
        let facts = self.facts;
        let (order, refunds) = (&facts.order, &facts.money.refunds);
        let captured = facts.money.capture.as_ref().map_or(0, |capture| capture.amount_minor);
        let live = refunds.iter().filter(|refund| refund.failed_at.is_none());
        let asked = sum(live.map(|refund| refund.amount_minor));
        let recorded = |refund: &&OrderRefund| refund.recorded_at.is_some();
        let recorded = sum(refunds.iter().filter(recorded).map(|refund| refund.amount_minor));
        let done = facts.refunds().iter().filter(|refund| refund.state == RefundState::Done);
        let done = sum(done.map(|refund| refund.amount_minor));
        let within = |sum: Option<i64>| sum.is_some_and(|sum| sum <= captured);
        // One made by hand may leave no room for one that is open, which then fails.
        let open = refunds.iter().any(|refund| refund.recorded_at.or(refund.failed_at).is_none());
        if recorded != Some(order.refunded_minor) || !(within(asked) || open) || !within(done) {
            let found = format!(
                "captured {captured}, requested {asked:?}, recorded {recorded:?}, done {done:?}, the order says {}",
                order.refunded_minor
            );
            let people = "settle the difference by hand";
            self.findings.push(Finding::manual(order.id, Code::RefundSumDiffers, found, people));
        }
        let kept = asked.is_some_and(|asked| asked < captured.min(order.total_minor));
        if is_called_off(order) && kept {
            let found = format!("captured {captured}, refunds requested {asked:?}");
            let repair = Repair::RequestMissingRefund(order.id);
            self.findings.push(Finding::of(order.id, Code::MoneyKept, found, repair));
        }
    }

    fn refunds(&mut self) -> Result<()> {
        let (facts, before) = (self.facts, self.before);
        let of_payment = |id: RefundId| facts.refunds().iter().find(|refund| refund.id == id);
        for asked in &facts.money.refunds {
            let state = of_payment(asked.id).map(|refund| refund.state);
            let is_open = asked.recorded_at.is_none() && asked.failed_at.is_none();
            if is_open && asked.requested_at < before {
                self.findings.push(self.stuck(asked, state)?);
            } else if asked.recorded_at.is_some() && state != Some(RefundState::Done) {
                let found = format!("recorded in the order, {state:?} in the payment");
                let people = "look the refund up at the provider";
                let finding = Finding::manual(facts.order.id, Code::RefundSumDiffers, found, people);
                self.findings.push(finding.with("refund", asked.id));
            }
        }
        // Failed in the payment and unknown to the order: moves no money, and keeps none.
        let live = |refund: &&Refund| refund.state != RefundState::Failed && refund.begun_at < before;
        let known = |refund: &&Refund| {
            facts.money.refunds.iter().any(|asked| asked.id == refund.id && asked.failed_at.is_none())
        };
        for refund in facts.refunds().iter().filter(live).filter(|refund| !known(refund)) {
            let found = format!(
                "{} begun at {}, {:?} in the payment, never requested",
                refund.amount_minor, refund.begun_at, refund.state
            );
            let finding = self.reported(Code::RefundStuck, found, &refund.id.to_string(), refund.begun_at)?;
            self.findings.push(finding.with("refund", refund.id));
        }
        Ok(())
    }

    /// A finding about a refund made by hand. Only the provider's report of its charge may record one: the job that
    /// refunds would move money a second time.
    fn reported(&self, code: Code, found: String, refund: &str, since: Timestamp) -> Result<Finding> {
        let order = self.facts.order.id;
        let Some(reference) = self.facts.payment.as_ref().and_then(captured_as) else {
            return Ok(Finding::manual(order, code, found, "look the refund up at the provider"));
        };
        let job = ApplyProviderReport { order, reference: reference.to_owned() };
        let job = self.job_as(job_id(order.0, ApplyProviderReport::KIND, refund), &job)?;
        Ok(Finding::missing(order, code, found, job, since))
    }

    fn stuck(&self, asked: &OrderRefund, state: Option<RefundState>) -> Result<Finding> {
        let order = self.facts.order.id;
        let found =
            format!("{} requested at {}, {state:?} in the payment", asked.amount_minor, asked.requested_at);
        let job = RefundPayment { order, refund: asked.id, amount_minor: asked.amount_minor };
        let message = asked.command.map_or(asked.id.0, |command| command.0);
        let job = self.job_as(job_id(message, RefundPayment::KIND, &asked.id.to_string()), &job)?;
        let finding = Finding::missing(order, Code::RefundStuck, found, job, asked.requested_at);
        Ok(finding.with("refund", asked.id))
    }

    fn charges(&mut self, ledger: &[LedgerEntry]) -> Result<()> {
        let (facts, before) = (self.facts, self.before);
        let (order, payment) = (&facts.order, facts.payment.as_ref().filter(|_| !facts.elsewhere));
        let charges = || ledger.iter().filter(|entry| entry.movement == EntryKind::Charge);
        let ours = payment.and_then(captured_as);
        if let (Some(ours), Some(payment)) = (ours, payment) {
            let finding = match charges().find(|entry| entry.id == ours) {
                None => {
                    let people = "ask the provider what became of the charge";
                    let found = "the ledger has no such charge";
                    Some(Finding::manual(order.id, Code::LedgerCaptureMissing, found, people))
                }
                Some(entry)
                    if (entry.amount_minor, entry.currency) != (payment.amount_minor, payment.currency) =>
                {
                    let found = format!(
                        "payment {} {}, ledger {} {}",
                        payment.amount_minor, payment.currency, entry.amount_minor, entry.currency
                    );
                    let people = "settle the difference by hand";
                    Some(Finding::manual(order.id, Code::AmountDiffers, found, people))
                }
                Some(_) => None,
            };
            self.findings.extend(finding.map(|finding| finding.with("charge", ours)));
        }
        let unknown = charges().filter(|entry| Some(entry.id.as_str()) != ours && entry.at < before);
        for entry in unknown.filter(|entry| !is_refunded(entry, ledger)) {
            let found = format!(
                "charged {} {} at {}, and no payment records it",
                entry.amount_minor, entry.currency, entry.at
            );
            // Without a payment there is no attempt, and a cancelled order's job has no charge to look up.
            let undecided = payment.is_some_and(|payment| payment.decision.is_none());
            let looked_up = payment.and_then(|payment| payment.charge.as_ref());
            let recordable = matches!(order.status, OrderStatus::Pending | OrderStatus::Cancelled)
                && entry.idempotency_key == capture_key(PaymentId::of_order(order.id))
                && looked_up.is_none_or(|charge| *charge == entry.id);
            let declined = payment.is_some_and(|payment| payment.decision.is_some() && ours.is_none());
            let finding = if undecided && recordable {
                self.unless_looked_up(Code::LedgerCaptureUnexpected, found)?
            } else if declined {
                let job = ApplyProviderReport { order: order.id, reference: entry.id.clone() };
                let id = job_id(order.id.0, ApplyProviderReport::KIND, &entry.id);
                let job = self.job_as(id, &job)?;
                Finding::missing(order.id, Code::LedgerCaptureUnexpected, found, job, entry.at)
            } else {
                let people = "give this charge back at the provider, once you know that it is one too many";
                Finding::manual(order.id, Code::LedgerCaptureUnexpected, found, people)
            };
            self.findings.push(finding.with("charge", &entry.id));
        }
        Ok(())
    }

    fn ledger_refunds(&mut self, ledger: &[LedgerEntry]) -> Result<()> {
        let (order, known, before) = (self.facts.order.id, self.facts.refunds(), self.before);
        let entries = || ledger.iter().filter(|entry| entry.movement == EntryKind::Refund);
        let is_of = |entry: &LedgerEntry, refund: &Refund| {
            entry.idempotency_key == refund_key(refund.id)
                || refund.id == refund_by_hand(PaymentId::of_order(order), &entry.id)
        };
        for refund in known.iter().filter(|refund| refund.state == RefundState::Done) {
            let entry = entries().find(|entry| is_of(entry, refund));
            if entry.is_none_or(|entry| entry.amount_minor != refund.amount_minor) {
                let told = entry.map(|entry| entry.amount_minor);
                let found = format!("{} refunded, the ledger has {told:?}", refund.amount_minor);
                let people = "ask the provider what became of the refund";
                let finding = Finding::manual(order, Code::LedgerRefundMissing, found, people);
                self.findings.push(finding.with("refund", refund.id));
            }
        }
        let unknown = |entry: &&LedgerEntry| known.iter().all(|refund| !is_of(entry, refund));
        let ours = self.facts.payment.as_ref().and_then(captured_as);
        // The refund of a charge that no payment records undoes it.
        let of_ours = |entry: &&LedgerEntry| ours == Some(entry.charge.as_str());
        let due = |entry: &&LedgerEntry| entry.at < before;
        for entry in entries().filter(unknown).filter(of_ours).filter(due) {
            let found = format!("{} refunded at {}, and no payment records it", entry.amount_minor, entry.at);
            let finding = self.reported(Code::LedgerRefundUnexpected, found, &entry.id, entry.at)?;
            self.findings.push(finding.with("entry", &entry.id));
        }
        Ok(())
    }
}

/// Whether all of a charge was refunded.
fn is_refunded(charge: &LedgerEntry, ledger: &[LedgerEntry]) -> bool {
    let refunds =
        ledger.iter().filter(|entry| entry.movement == EntryKind::Refund && entry.charge == charge.id);
    sum(refunds.map(|refund| refund.amount_minor)).is_some_and(|refunded| refunded >= charge.amount_minor)
}

/// `None` on overflow.
fn sum(amounts: impl IntoIterator<Item = i64>) -> Option<i64> {
    amounts.into_iter().try_fold(0_i64, i64::checked_add)
}
