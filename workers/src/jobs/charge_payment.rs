//! Job that charges the card for an order.
//!
//! The steps, and what a crash after each of them leaves:
//! 1. open the payment (id derived from the order): opening again returns the same payment;
//! 2. begin an attempt, whose epoch fences off all earlier attempts: the next run gets a higher epoch;
//! 3. call the provider under the payment's key: the next call under it gets the same answer and moves no money;
//! 4. record the decision, only with the newest epoch: the next run finds the decision at step 2 and continues with it.
//!    A run that was fenced off retries until there is a decision;
//! 5. change the order's state in its own store, with its events: repeating that changes nothing.
//!
//! No answer at step 3 means "unknown": the provider is asked by key before anything else happens. An order that was
//! cancelled while a charge was in flight is not charged any more, but a charge that did happen is found and recorded,
//! so that its money is refunded.

use std::time::Duration;

use base::{Timestamp, time::between};
use jobs::{Backoff, Job, JobContext, JobError, Priority};
use serde::{Deserialize, Serialize};
use store::{
    StoreError,
    domain::{Decision, Order, OrderId, OrderStatus, Payment, PaymentId},
    orders::{CaptureFacts, Transition},
    payments::{Begun, Decided, NewPayment},
};

use super::{PROVIDER_ATTEMPTS_MAX, PROVIDER_BACKOFF, not_found, provider_failure, query_of, unless_paused};
use crate::{
    env::Env,
    provider::{CaptureRequest, ChargeOutcome, ProviderError, capture_key},
    queues::PAYMENTS,
};

/// Deadline of the capture call, whatever the provider's own limits are; the job's timeout leaves room for the lookup
/// after it.
const CAPTURE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long after the begin of an attempt its call may still reach the provider, and how long after a cancellation a
/// run that has not read it may still call: the job's timeout with a wide margin.
const CALL_STRAY_MAX: Duration = Duration::from_mins(3);

/// Captures an order's total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargePayment {
    pub order: OrderId,
}

impl Job for ChargePayment {
    type Env = Env;
    const KIND: &'static str = "charge_payment";
    const QUEUE: &'static str = PAYMENTS;
    const MAX_ATTEMPTS: u32 = PROVIDER_ATTEMPTS_MAX;
    const TIMEOUT: Duration = Duration::from_secs(30);
    const PRIORITY: Priority = Priority::Critical;
    const BACKOFF: Backoff = PROVIDER_BACKOFF;

    fn subject(&self) -> Option<String> {
        Some(self.order.to_string())
    }

    async fn run(&self, ctx: &JobContext<Env>) -> Result<(), JobError> {
        let Some(order) = ctx.env.orders.order_by_id(self.order).await? else {
            return Err(not_found(ctx, "order"));
        };
        match order.status {
            OrderStatus::Pending => charge(ctx, &order).await,
            OrderStatus::Cancelled => find_stray_charge(ctx, &order).await,
            OrderStatus::Paid
            | OrderStatus::Fulfilled
            | OrderStatus::PaymentFailed
            | OrderStatus::Refunded => Ok(()),
        }
    }
}

async fn charge(ctx: &JobContext<Env>, order: &Order) -> Result<(), JobError> {
    let env = &ctx.env;
    unless_paused(env)?;
    let payment = env.payments.open_payment(new_payment(ctx, order)).await?;
    let epoch = match env.payments.begin_attempt(payment.id, &env.worker, ctx.ambient.now()).await? {
        Begun::Attempt { epoch } => epoch,
        Begun::Decided(decision) => return apply(ctx, order.id, &payment, decision).await,
        Begun::NotFound => return Err(JobError::retry("payment_not_found")),
    };
    match ask_provider(ctx, &payment).await? {
        Ok(outcome) => record(ctx, order.id, &payment, epoch, outcome).await,
        Err(error) => {
            env.payments.annotate_attempt(payment.id, epoch, &error.to_string(), ctx.ambient.now()).await?;
            Err(provider_failure(error))
        }
    }
}

fn new_payment(ctx: &JobContext<Env>, order: &Order) -> NewPayment {
    NewPayment {
        id: PaymentId::of_order(order.id),
        order: order.id,
        merchant: order.merchant,
        amount_minor: order.total_minor,
        currency: order.currency,
        method: order.payment_method.clone(),
        provider: ctx.env.provider.name().to_owned(),
        at: ctx.ambient.now(),
    }
}

/// Requests the charge. Looks it up first where the provider may have forgotten its key, and afterwards where the call
/// got no answer.
async fn ask_provider(
    ctx: &JobContext<Env>,
    payment: &Payment,
) -> Result<Result<ChargeOutcome, ProviderError>, StoreError> {
    let provider = &ctx.env.provider;
    let age = between(payment.created_at, ctx.ambient.now());
    if age > provider.keys_kept() {
        match provider.find(&query_of(ctx, payment).await?).await {
            Ok(None) => {}
            Ok(Some(known)) => return Ok(Ok(known)),
            Err(error) => return Ok(Err(error)),
        }
    }
    let request = CaptureRequest {
        idempotency_key: capture_key(payment.id),
        amount_minor: payment.amount_minor,
        currency: payment.currency,
        method: payment.method.clone(),
        order: payment.order,
        payment: payment.id,
    };
    let answer = tokio::time::timeout(CAPTURE_TIMEOUT, provider.capture(&request)).await;
    let unknown = match answer.unwrap_or(Err(ProviderError::Unknown { cause: "timeout" })) {
        Err(error) if error.may_have_happened() => error,
        settled => return Ok(settled),
    };
    tracing::warn!(job.id = %ctx.id, payment.id = %payment.id, error = %unknown, "charge outcome unknown, looking it up");
    // The answer "there is none" is definite, but says nothing about a call still in flight. So nothing is decided: the
    // next attempt calls again under the same key, which moves money once, whichever call arrives first.
    let found = provider.find(&query_of(ctx, payment).await?).await;
    Ok(found.and_then(|found| found.ok_or(unknown)))
}

async fn record(
    ctx: &JobContext<Env>,
    order: OrderId,
    payment: &Payment,
    epoch: u64,
    outcome: ChargeOutcome,
) -> Result<(), JobError> {
    let decision = match outcome {
        ChargeOutcome::Captured { reference } => Decision::Captured { provider_reference: reference },
        ChargeOutcome::Declined { code } => Decision::Declined { code },
    };
    match ctx.env.payments.record_decision(payment.id, epoch, decision.clone(), ctx.ambient.now()).await? {
        Decided::Recorded => apply(ctx, order, payment, decision).await,
        Decided::Already(earlier) => apply(ctx, order, payment, earlier).await,
        Decided::Stale { current_epoch } => {
            // A newer attempt gets the same answer under the same key and records it, unless its run crashes. The queue
            // need not repeat that run: a consumer that lost its lease may begin an attempt after its successor did. So
            // this job is retried until there is a decision.
            tracing::info!(payment.id = %payment.id, epoch, current_epoch, "fenced off by a newer attempt");
            Err(JobError::retry("fenced_off_by_a_newer_attempt"))
        }
        Decided::NotFound => Err(JobError::retry("payment_not_found")),
    }
}

async fn apply(
    ctx: &JobContext<Env>,
    order: OrderId,
    payment: &Payment,
    decision: Decision,
) -> Result<(), JobError> {
    let at = ctx.ambient.now();
    let moved = match decision {
        Decision::Captured { provider_reference } => {
            let amount_minor = payment.amount_minor;
            let facts = CaptureFacts { payment: payment.id, provider_reference, amount_minor };
            ctx.env.orders.mark_paid(order, facts, at).await?
        }
        Decision::Declined { code } => {
            ctx.env.orders.mark_payment_failed(order, payment.id, &code, at).await?
        }
    };
    match moved {
        Transition::Now(_) | Transition::Already(_) => Ok(()),
        // A pending order takes any decision: its write did not find it, and the next one does.
        Transition::Refused(order) if order.status == OrderStatus::Pending => {
            Err(JobError::retry("order_still_pending"))
        }
        Transition::Refused(order) => {
            // With its rejection the store has written the refund of captured money.
            tracing::info!(order.id = %order.id, order.status = %order.status, "payment decided for a closed order");
            Ok(())
        }
        Transition::NotFound => Err(JobError::retry("order_not_found")),
    }
}

/// For a cancelled order: finds and records a charge whose run crashed before recording it.
///
/// An attempt is begun only after such a charge is found: an attempt still in progress must not be fenced off by a run
/// with nothing to record.
async fn find_stray_charge(ctx: &JobContext<Env>, order: &Order) -> Result<(), JobError> {
    let env = &ctx.env;
    let payment = env.payments.payment(PaymentId::of_order(order.id)).await?;
    let Some(payment) = payment.filter(|payment| payment.epoch > 0) else {
        return rest_after(ctx, order.updated_at);
    };
    match payment.decision.clone() {
        Some(Decision::Declined { .. }) => return Ok(()),
        Some(captured) => return apply(ctx, order.id, &payment, captured).await,
        None => {}
    }
    let query = query_of(ctx, &payment).await?;
    match env.provider.find(&query).await.map_err(provider_failure)? {
        Some(outcome) => learn(ctx, order.id, &payment, outcome).await,
        None => nothing_charged(ctx, order, &payment).await,
    }
}

/// Records an outcome that a lookup found or the provider reported.
pub(super) async fn learn(
    ctx: &JobContext<Env>,
    order: OrderId,
    payment: &Payment,
    outcome: ChargeOutcome,
) -> Result<(), JobError> {
    match ctx.env.payments.begin_attempt(payment.id, &ctx.env.worker, ctx.ambient.now()).await? {
        Begun::Attempt { epoch } => record(ctx, order, payment, epoch, outcome).await,
        Begun::Decided(decision) => apply(ctx, order, payment, decision).await,
        Begun::NotFound => Err(JobError::retry("payment_not_found")),
    }
}

/// The provider knows of no charge: looks again until no call can be in flight any more.
async fn nothing_charged(ctx: &JobContext<Env>, order: &Order, payment: &Payment) -> Result<(), JobError> {
    let attempts = ctx.env.payments.attempts(payment.id).await?;
    let begun_at = attempts.iter().map(|attempt| attempt.begun_at).max().unwrap_or(Timestamp::UNIX_EPOCH);
    rest_after(ctx, order.updated_at.max(begun_at))
}

/// Snoozes until no run that began by `since` can still charge; then the job is done.
///
/// `since` is never before the cancellation, even if no attempt had begun by then: a run that lost its lease may have
/// read the order before the cancellation and be about to charge it, and no other job looks for that charge if the run
/// crashes.
fn rest_after(ctx: &JobContext<Env>, since: Timestamp) -> Result<(), JobError> {
    let age = between(since, ctx.ambient.now());
    match CALL_STRAY_MAX.checked_sub(age) {
        Some(left) if !left.is_zero() => Err(JobError::Snooze(left)),
        _ => Ok(()),
    }
}
