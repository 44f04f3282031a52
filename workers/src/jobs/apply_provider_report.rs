//! Looks at a charge because its provider says that something became of it.
//!
//! What the provider wrote is not believed but taken as a hint: the job reads how the charge and its refunds stand
//! *now*, so neither the order in which hints arrive nor one that is missing or repeated matters. What it finds goes
//! the way of the jobs that charge and refund, with their guards, so running again changes nothing:
//! 1. an outcome nobody has recorded is recorded under a new epoch, and the order moves;
//! 2. each refund is reserved, ended and recorded under its id. One made by hand at the provider gets an id derived from
//!    the provider's.
//!
//! What contradicts a record cannot be set right by a program: it raises an alarm, once per report, and stays.

use std::time::Duration;

use jobs::{Backoff, Job, JobContext, JobError, Priority};
use serde::{Deserialize, Serialize};
use store::{
    domain::{Decision, OrderId, Payment, PaymentId, RefundId, RefundState},
    payments::RefundBegun,
};

use super::{
    PROVIDER_ATTEMPTS_MAX, PROVIDER_BACKOFF, charge_payment, provider_failure, refund_payment::RefundPayment,
    unless_paused,
};
use crate::{
    env::Env,
    provider::{ChargeOutcome, RefundOutcome, RefundReport},
    registry::PAYMENTS,
};

/// Applies what a provider knows of a charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyProviderReport {
    /// The order that the charge is said to pay.
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

    async fn run(&self, ctx: &JobContext<Env>) -> Result<(), JobError> {
        let env = &ctx.env;
        unless_paused(env)?;
        let report = env.provider.report(&self.reference).await.map_err(provider_failure)?;
        let Some(report) = report else { return Err(JobError::cancel("charge_not_found")) };
        let Some(payment) = env.payments.payment(PaymentId::of_order(self.order)).await? else {
            return Err(JobError::cancel("payment_not_found"));
        };
        let agrees = report.order == Some(self.order)
            && report.amount_minor == payment.amount_minor
            && report.currency == payment.currency
            && payment.provider == env.provider.name();
        if !agrees {
            self.alarm("a charge at the provider is not the one of its order");
            return Err(JobError::cancel("another_charge"));
        }
        if let Some(outcome) = report.outcome {
            self.settle(ctx, &payment, outcome).await?;
        }
        for refund in report.refunds {
            self.settle_refund(ctx, payment.id, refund).await?;
        }
        Ok(())
    }
}

impl ApplyProviderReport {
    async fn settle(
        &self,
        ctx: &JobContext<Env>,
        payment: &Payment,
        outcome: ChargeOutcome,
    ) -> Result<(), JobError> {
        if let (Some(decision), ChargeOutcome::Captured { reference }) = (&payment.decision, &outcome)
            && !matches!(decision, Decision::Captured { provider_reference } if provider_reference == reference)
        {
            self.alarm("money was captured for a payment that has ended otherwise");
            return Err(JobError::cancel("captured_twice_or_after_its_end"));
        }
        charge_payment::learn(ctx, self.order, payment, outcome).await
    }

    async fn settle_refund(
        &self,
        ctx: &JobContext<Env>,
        payment: PaymentId,
        found: RefundReport,
    ) -> Result<(), JobError> {
        let (done, note) = match (&found.outcome, found.refund) {
            (RefundOutcome::Done { reference }, _) => (true, reference.as_str()),
            (RefundOutcome::Refused { code }, Some(_)) => (false, code.as_str()),
            // Made by hand and failed: nothing came of it, here or there.
            (RefundOutcome::Refused { .. }, None) => return Ok(()),
        };
        let id = found.refund.unwrap_or_else(|| RefundId::derived(payment.0, &found.reference));
        let (payments, at) = (&ctx.env.payments, ctx.ambient.now());
        let state = match payments.begin_refund(payment, id, found.amount_minor, at).await? {
            RefundBegun::Open => payments.end_refund(payment, id, done, note, at).await?,
            RefundBegun::Ended(state) => Some(state),
            RefundBegun::TooMuch { .. } => {
                self.alarm("more was given back at the provider than was captured here");
                None
            }
            RefundBegun::NotCaptured | RefundBegun::NotFound => {
                return Err(JobError::retry("capture_not_recorded"));
            }
        };
        match state {
            Some(RefundState::Done) if done => {
                let refund =
                    RefundPayment { order: self.order, refund: id, amount_minor: found.amount_minor };
                refund.record(ctx, payment).await
            }
            Some(RefundState::Failed) if !done => Ok(()),
            Some(_) => {
                self.alarm("a refund has ended otherwise at the provider than is recorded here");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn alarm(&self, what: &'static str) {
        tracing::error!(alarm = true, order.id = %self.order, reference = self.reference, what, "people must look");
    }
}
