//! Job that refunds the payment of an order, all or a part of it.
//!
//! The steps, and what a crash after each of them leaves:
//! 1. reserve the amount out of the captured sum, under the refund's id: reserving again changes nothing;
//! 2. call the provider under the refund's id: calling again moves no more money;
//! 3. record the outcome in the payment: recorded once;
//! 4. record it in the order, with its events: recording again changes nothing. A refund that failed is recorded, too,
//!    so that its amount may be requested again.

use std::time::Duration;

use jobs::{Backoff, Job, JobError, Priority};
use serde::{Deserialize, Serialize};
use store::{
    domain::{Currency, Decision, OrderId, PaymentId, RefundId, RefundState},
    orders::{RefundFacts, Transition},
    payments::RefundBegun,
};

use super::{
    PROVIDER_ATTEMPTS_MAX, PROVIDER_BACKOFF, Result, not_found, provider_failure, same_provider,
    unless_paused, within,
};
use crate::{
    env::{Context, Env},
    provider::{RefundOutcome, RefundRequest, refund_key},
    queues::PAYMENTS,
};

/// Codes of refunds that end without an answer of the provider.
const EXCEEDS_CAPTURED: &str = "refund_exceeds_captured";
const REFUSED_BEFORE: &str = "refund_refused";

const REFUND_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundPayment {
    pub order: OrderId,
    pub refund: RefundId,
    pub amount_minor: i64,
}

impl Job for RefundPayment {
    type Env = Env;
    const KIND: &'static str = "refund_payment";
    const QUEUE: &'static str = PAYMENTS;
    const MAX_ATTEMPTS: u32 = PROVIDER_ATTEMPTS_MAX;
    const TIMEOUT: Duration = Duration::from_secs(30);
    // A customer waits at the checkout for a charge: charges go first, and refunds get the share of their priority.
    const PRIORITY: Priority = Priority::Default;
    const BACKOFF: Backoff = PROVIDER_BACKOFF;

    fn subject(&self) -> Option<String> {
        Some(self.order.to_string())
    }

    async fn run(&self, ctx: &Context) -> Result<()> {
        unless_paused(&ctx.env)?;
        let payment = PaymentId::of_order(self.order);
        let at = ctx.ambient.now();
        let (state, code) =
            match ctx.env.payments.begin_refund(payment, self.refund, self.amount_minor, at).await? {
                RefundBegun::Open => self.refund_at_provider(ctx, payment).await?,
                RefundBegun::Ended(state) => (state, REFUSED_BEFORE.to_owned()),
                RefundBegun::TooMuch { .. } => (RefundState::Failed, EXCEEDS_CAPTURED.to_owned()),
                RefundBegun::NotCaptured => return Err(JobError::cancel("nothing_captured")),
                RefundBegun::NotFound => return Err(not_found(ctx, "payment")),
            };
        match state {
            RefundState::Done => self.record(ctx, payment, None).await,
            RefundState::Failed => {
                let exceeds = code == EXCEEDS_CAPTURED;
                self.record(ctx, payment, Some(code)).await?;
                Err(JobError::cancel(if exceeds { EXCEEDS_CAPTURED } else { "refund_refused_by_provider" }))
            }
            RefundState::Open => Err(JobError::retry("refund_still_open")),
        }
    }
}

impl RefundPayment {
    /// The recorded state, and the provider's reference or code.
    async fn refund_at_provider(&self, ctx: &Context, payment: PaymentId) -> Result<(RefundState, String)> {
        let (charge, currency) = charge_of(ctx, payment).await?;
        let (done, reference) = match self.ask_provider(ctx, charge, currency).await? {
            RefundOutcome::Done { reference } => (true, reference),
            RefundOutcome::Refused { code } => {
                tracing::error!(alarm = true, order.id = %self.order, refund.id = %self.refund, code, "refund rejected");
                (false, code)
            }
        };
        let at = ctx.ambient.now();
        let ended = ctx.env.payments.end_refund(payment, self.refund, done, &reference, at).await?;
        let state = ended.ok_or_else(|| JobError::retry("refund_not_found"))?;
        ctx.env.payment_counts.refund_ended(state == RefundState::Done);
        Ok((state, reference))
    }

    pub(super) async fn ask_provider(
        &self,
        ctx: &Context,
        charge: String,
        currency: Currency,
    ) -> Result<RefundOutcome> {
        let request = RefundRequest {
            idempotency_key: refund_key(self.refund),
            charge,
            amount_minor: self.amount_minor,
            currency,
            order: self.order,
        };
        // No lookup is needed: the next attempt calls again under the same key.
        within(REFUND_TIMEOUT, ctx.env.provider.refund(&request)).await.map_err(provider_failure)
    }

    /// Records the end in the order; `failure` is the code of a refusal.
    pub(super) async fn record(
        &self,
        ctx: &Context,
        payment: PaymentId,
        failure: Option<String>,
    ) -> Result<()> {
        let facts = RefundFacts { payment, refund: self.refund, amount_minor: self.amount_minor, failure };
        match ctx.env.orders.record_refund(self.order, facts, ctx.ambient.now()).await? {
            Transition::Now(_) | Transition::Already(_) => Ok(()),
            // The money is refunded and the order rejects the record: an invalid state, retried until it is a visible
            // dead letter.
            Transition::Refused(_) => Err(JobError::retry("order_refuses_refund")),
            Transition::NotFound => Err(JobError::retry("order_not_found")),
        }
    }
}

/// The provider's id of the captured charge, and its currency.
async fn charge_of(ctx: &Context, payment: PaymentId) -> Result<(String, Currency)> {
    let payment = ctx.env.payments.payment(payment).await?;
    if let Some(payment) = &payment {
        same_provider(&ctx.env, payment)?;
    }
    match payment.map(|payment| (payment.decision, payment.currency)) {
        Some((Some(Decision::Captured { provider_reference }), currency)) => {
            Ok((provider_reference, currency))
        }
        _ => Err(JobError::retry("capture_not_readable")),
    }
}
