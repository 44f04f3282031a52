//! Job that applies a provider's report about a charge.
//!
//! A report is a hint, not evidence: the job reads the *present* state of the charge and its refunds at the provider,
//! so the order of reports does not matter, nor does a missing or repeated one. It records the result through the code
//! and guards of the jobs that charge and refund, so running again changes nothing:
//! 1. an outcome not yet recorded is recorded under a new epoch, and the order changes its state;
//! 2. each refund is reserved, ended and recorded under its id. A refund made by hand at the provider gets an id
//!    derived from the provider's.
//!
//! Money captured for a payment that ended as declined is refunded at once: the order has ended, and no other job would
//! give it back.
//!
//! Any other contradiction to a record needs manual action: it raises an alarm, once per report, and the record stays.

use std::time::Duration;

use jobs::{Backoff, Job, JobError, Priority};
use serde::{Deserialize, Serialize};
use store::{
    domain::{Decision, OrderId, Payment, PaymentId, RefundId, RefundState},
    payments::RefundBegun,
};

use super::{
    PROVIDER_ATTEMPTS_MAX, PROVIDER_BACKOFF, Result, charge_payment, not_found, provider_failure,
    refund_payment::RefundPayment, same_provider, unless_paused,
};
use crate::{
    env::{Context, Env},
    provider::{RefundOutcome, RefundReport, refund_by_hand},
    queues::PAYMENTS,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyProviderReport {
    pub order: OrderId,
    /// The provider's id of the charge.
    pub reference: String,
}

impl Job for ApplyProviderReport {
    type Env = Env;
    const KIND: &'static str = "apply_provider_report";
    const QUEUE: &'static str = PAYMENTS;
    const MAX_ATTEMPTS: u32 = PROVIDER_ATTEMPTS_MAX;
    const TIMEOUT: Duration = Duration::from_secs(30);
    const PRIORITY: Priority = Priority::Default;
    const BACKOFF: Backoff = PROVIDER_BACKOFF;

    fn subject(&self) -> Option<String> {
        Some(self.order.to_string())
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        let env = &ctx.env;
        unless_paused(env)?;
        let Some(payment) = env.payments.payment(PaymentId::of_order(self.order)).await? else {
            return Err(not_found(ctx, "payment"));
        };
        same_provider(env, &payment)?;
        let report = env.provider.report(&self.reference).await.map_err(provider_failure)?;
        let Some(report) = report else { return Err(JobError::cancel("charge_not_found")) };
        let agrees = report.order == Some(self.order)
            && report.amount_minor == payment.amount_minor
            && report.currency == payment.currency;
        if !agrees {
            self.alarm("charge does not match its order");
            return Err(JobError::cancel("another_charge"));
        }
        match (&payment.decision, report.outcome) {
            (Some(Decision::Declined { .. }), Some(Decision::Captured { provider_reference })) => {
                return self.refund_late_capture(ctx, &payment, provider_reference, &report.refunds).await;
            }
            (Some(decision), Some(outcome @ Decision::Captured { .. })) if *decision != outcome => {
                self.alarm("capture contradicts the recorded decision");
                return Err(JobError::cancel("captured_twice_or_after_its_end"));
            }
            // Another charge than the recorded one decides nothing: that one may be captured at this moment.
            (None, Some(Decision::Declined { .. }))
                if env.provider.creates_first() && payment.charge.as_ref() != Some(&self.reference) => {}
            (_, Some(outcome)) => charge_payment::learn(ctx, self.order, &payment, outcome).await?,
            (_, None) => {}
        }
        // One that waits for another does not hold up the rest.
        let mut waits = Ok(());
        for refund in report.refunds {
            waits = self.settle_refund(ctx, payment.id, refund).await.and(waits);
        }
        waits
    }
}

impl ApplyProviderReport {
    /// Refunds what is left of the charge, under an id derived from it: repeating that moves no more money. The payment
    /// has no capture that could hold the refund; the provider keeps the record.
    async fn refund_late_capture(
        &self,
        ctx: &Context,
        payment: &Payment,
        charge: String,
        refunds: &[RefundReport],
    ) -> Result<()> {
        let id = RefundId::derived(payment.id.0, &charge);
        let other = refunds.iter().filter(|refund| refund.refund != Some(id));
        let other = other.filter(|refund| matches!(refund.outcome, RefundOutcome::Done { .. }));
        let left = payment.amount_minor - other.map(|refund| refund.amount_minor).sum::<i64>();
        if left <= 0 {
            return Ok(());
        }
        let refund = RefundPayment { order: self.order, refund: id, amount_minor: left };
        match refund.ask_provider(ctx, charge, payment.currency).await? {
            RefundOutcome::Done { reference } => {
                let charge = &self.reference;
                tracing::warn!(order.id = %self.order, charge, reference, "late capture refunded");
            }
            RefundOutcome::Refused { .. } => self.alarm("late capture cannot be refunded"),
        }
        Ok(())
    }

    async fn settle_refund(&self, ctx: &Context, payment: PaymentId, found: RefundReport) -> Result<()> {
        let (done, note) = match (&found.outcome, found.refund) {
            (RefundOutcome::Done { reference }, _) => (true, reference.as_str()),
            (RefundOutcome::Refused { code }, Some(_)) => (false, code.as_str()),
            // Made by hand and failed: without effect here and at the provider.
            (RefundOutcome::Refused { .. }, None) => return Ok(()),
        };
        let id = found.refund.unwrap_or_else(|| refund_by_hand(payment, &found.reference));
        let (payments, at) = (&ctx.env.payments, ctx.ambient.now());
        let state = match payments.begin_refund(payment, id, found.amount_minor, at).await? {
            RefundBegun::Open => payments.end_refund(payment, id, done, note, at).await?,
            RefundBegun::Ended(state) => Some(state),
            RefundBegun::TooMuch { .. } => {
                // A refund of ours that is open does not fit any more and will be refused: then this one fits.
                let payment = ctx.env.payments.payment(payment).await?;
                if payment.is_some_and(|payment| payment.refunds.iter().any(|r| r.state == RefundState::Open))
                {
                    return Err(JobError::retry("refund_open"));
                }
                self.alarm("refunds exceed the recorded capture");
                None
            }
            RefundBegun::NotCaptured | RefundBegun::NotFound => {
                return Err(JobError::retry("capture_not_recorded"));
            }
        };
        let refund = RefundPayment { order: self.order, refund: id, amount_minor: found.amount_minor };
        match state {
            Some(RefundState::Done) if done => refund.record(ctx, payment, None).await,
            Some(RefundState::Failed) if !done => refund.record(ctx, payment, Some(note.to_owned())).await,
            Some(_) => {
                self.alarm("refund outcome contradicts the record");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn alarm(&self, what: &'static str) {
        tracing::error!(alarm = true, order.id = %self.order, reference = self.reference, what, "manual action required");
    }
}
