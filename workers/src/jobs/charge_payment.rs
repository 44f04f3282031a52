//! Job that charges the card for an order.
//!
//! The steps, and what a crash after each of them leaves:
//! 1. open the payment (id derived from the order): opening again returns the same payment;
//! 2. begin an attempt, whose epoch fences off all earlier attempts: the next run gets a higher epoch;
//! 3. create the charge at the provider, where it works so, without moving money: the next run creates another one;
//! 4. record the charge, only with the newest epoch: the next run finds it at step 1 and looks it up. Only a recorded
//!    charge is captured, so there is one;
//! 5. capture it, or call the provider under the payment's key: repeating that moves no money;
//! 6. record the decision, only with the newest epoch: the next run finds the decision at step 2 and continues with it.
//!    A run that was fenced off retries until there is a decision;
//! 7. change the order's state in its own store, with its events: repeating that changes nothing.
//!
//! The provider is not asked for an order with the total 0: step 6 records a capture under a reference of our own.
//!
//! No answer at step 5 means "unknown": the provider is asked for the charge before anything else happens. An order
//! that was cancelled while a charge was in flight is not charged any more: its charge is ended at the provider, or
//! found captured and recorded, so that its money is refunded.

use std::time::Duration;

use base::{Timestamp, time::between};
use jobs::{Backoff, Job, JobError, Priority};
use serde::{Deserialize, Serialize};
use store::{
    domain::{Decision, Order, OrderId, OrderStatus, Payment, PaymentId},
    orders::{CaptureFacts, Transition},
    payments::{Begun, ChargeRecorded, Decided, NewPayment},
};

use super::{
    PROVIDER_ATTEMPTS_MAX, PROVIDER_BACKOFF, Result, not_found, provider_failure, query_of, same_provider,
    unless_paused, within,
};
use crate::{
    env::{Context, Env},
    provider::{
        CaptureRequest, ChargeOutcome, ChargeQuery, Created, NO_PROVIDER, ProviderError, capture_key,
    },
    queues::PAYMENTS,
};

/// Deadlines of the calls; the job's timeout leaves room for the lookup after them.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);
const CAPTURE_TIMEOUT: Duration = Duration::from_secs(15);
/// Decline code of a payment whose order ended before its charge was created.
const ORDER_ENDED: &str = "order_ended";
const ANOTHER_CHARGE: &str = "another_charge_is_recorded";
const FENCED_OFF: &str = "fenced_off_by_a_newer_attempt";
/// How long after the begin of an attempt its call may still reach the provider, and how long after a cancellation a
/// run that has not read it may still call: the job's timeout with a wide margin.
const CALL_STRAY_MAX: Duration = Duration::from_mins(3);

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

    async fn run(&self, ctx: &Context) -> Result<()> {
        let Some(order) = ctx.env.orders.order_by_id(self.order).await? else {
            return Err(not_found(ctx, "order"));
        };
        match order.status {
            OrderStatus::Pending => charge(ctx, &order).await,
            OrderStatus::Cancelled | OrderStatus::PaymentFailed => find_stray_charge(ctx, &order).await,
            OrderStatus::Paid | OrderStatus::Fulfilled | OrderStatus::Refunded => Ok(()),
        }
    }
}

async fn charge(ctx: &Context, order: &Order) -> Result<()> {
    let env = &ctx.env;
    if order.total_minor > 0 {
        unless_paused(env)?;
    }
    let payment = open(ctx, order).await?;
    let Some(epoch) = begin(ctx, order.id, &payment).await? else { return Ok(()) };
    if payment.amount_minor == 0 {
        let provider_reference = format!("free_{}", payment.id);
        return record(ctx, order.id, &payment, epoch, Decision::Captured { provider_reference }).await;
    }
    match ask_provider(ctx, &payment, epoch).await {
        Ok(outcome) => record(ctx, order.id, &payment, epoch, outcome).await,
        Err(Unanswered::Provider(error)) => {
            if let ProviderError::Debit { .. } = error {
                env.orders.note_debit(order.id, ctx.ambient.now()).await?;
            }
            env.payments.annotate_attempt(payment.id, epoch, &error.to_string(), ctx.ambient.now()).await?;
            Err(provider_failure(error))
        }
        Err(Unanswered::Job(error)) => Err(error),
    }
}

/// Why a charge has no outcome.
enum Unanswered {
    Provider(ProviderError),
    Job(JobError),
}

impl From<ProviderError> for Unanswered {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}

/// Opens the payment. One that is not decided must be at the configured provider.
async fn open(ctx: &Context, order: &Order) -> Result<Payment> {
    let env = &ctx.env;
    let payment = NewPayment {
        id: PaymentId::of_order(order.id),
        order: order.id,
        merchant: order.merchant,
        amount_minor: order.total_minor,
        currency: order.currency,
        method: order.payment_method.clone(),
        provider: if order.total_minor > 0 { env.provider.name() } else { NO_PROVIDER }.to_owned(),
        at: ctx.ambient.now(),
    };
    let payment = env.payments.open_payment(payment).await?;
    if payment.decision.is_none() {
        same_provider(env, &payment)?;
    }
    Ok(payment)
}

/// Begins an attempt; `None` where the payment is decided, after its decision was applied.
async fn begin(ctx: &Context, order: OrderId, payment: &Payment) -> Result<Option<u64>> {
    match ctx.env.payments.begin_attempt(payment.id, &ctx.env.worker, ctx.ambient.now()).await? {
        Begun::Attempt { epoch } => Ok(Some(epoch)),
        Begun::Decided(decision) => apply(ctx, order, payment, decision).await.map(|()| None),
        Begun::NotFound => Err(JobError::retry("payment_not_found")),
    }
}

/// Requests the charge. Looks it up first where an earlier attempt may have captured it, and afterwards where the call
/// got no answer.
async fn ask_provider(ctx: &Context, payment: &Payment, epoch: u64) -> Result<ChargeOutcome, Unanswered> {
    let provider = &ctx.env.provider;
    let mut request = CaptureRequest {
        idempotency_key: capture_key(payment.id),
        amount_minor: payment.amount_minor,
        currency: payment.currency,
        method: payment.method.clone(),
        order: payment.order,
        payment: payment.id,
        attempt: epoch,
        charge: payment.charge.clone(),
    };
    if request.charge.is_some() {
        if let Some(known) = provider.find(&query_of(payment)).await? {
            return Ok(known);
        }
    } else if provider.creates_first() {
        match within(CREATE_TIMEOUT, provider.create(&request)).await? {
            Created::Charge(created) => {
                request.charge = Some(record_charge(ctx, payment.id, epoch, created).await?);
            }
            Created::Declined { code } => return without_charge(ctx, payment.id, code).await,
        }
    }
    let unknown = match within(CAPTURE_TIMEOUT, provider.capture(&request)).await {
        Err(error) if error.may_have_happened() => error,
        settled => return Ok(settled?),
    };
    tracing::warn!(job.id = %ctx.id, payment.id = %payment.id, error = %unknown, "charge outcome unknown, looking it up");
    ctx.log(format_args!("attempt {epoch}: charge outcome unknown ({unknown}), looking it up"));
    // No outcome says nothing about a call still in flight. So nothing is decided: the next attempt asks for the same
    // charge, which moves money once, whichever call arrives first.
    let query = ChargeQuery { charge: request.charge, ..query_of(payment) };
    let found = provider.find(&query).await?;
    ctx.log(format_args!("attempt {epoch}: found at the provider: {}", found.is_some()));
    Ok(found.ok_or(unknown)?)
}

/// Records the charge before it can move money. Where an earlier attempt recorded another one, that one must be looked
/// up first.
async fn record_charge(
    ctx: &Context,
    payment: PaymentId,
    epoch: u64,
    created: String,
) -> Result<String, Unanswered> {
    let recorded = ctx.env.payments.record_charge(payment, epoch, &created, ctx.ambient.now()).await;
    let again = match recorded.map_err(|error| Unanswered::Job(error.into()))? {
        ChargeRecorded::Charge(recorded) if recorded == created => return Ok(recorded),
        ChargeRecorded::Charge(_) => ANOTHER_CHARGE,
        ChargeRecorded::Decided(_) => "decided_meanwhile",
        ChargeRecorded::Stale { .. } => FENCED_OFF,
        ChargeRecorded::NotFound => "payment_not_found",
    };
    Err(Unanswered::Job(JobError::retry(again)))
}

/// A decline at the creation, unless an earlier attempt recorded a charge after this one read the payment: that one may
/// have been captured.
async fn without_charge(
    ctx: &Context,
    payment: PaymentId,
    code: String,
) -> Result<ChargeOutcome, Unanswered> {
    let stored = ctx.env.payments.payment(payment).await.map_err(|error| Unanswered::Job(error.into()))?;
    match stored {
        Some(Payment { charge: None, .. }) => Ok(ChargeOutcome::Declined { code }),
        _ => Err(Unanswered::Job(JobError::retry(ANOTHER_CHARGE))),
    }
}

async fn record(
    ctx: &Context,
    order: OrderId,
    payment: &Payment,
    epoch: u64,
    decision: Decision,
) -> Result<()> {
    match ctx.env.payments.record_decision(payment.id, epoch, decision.clone(), ctx.ambient.now()).await? {
        Decided::Recorded => {
            if payment.amount_minor > 0 {
                ctx.env.payment_counts.decided(&decision);
            }
            apply(ctx, order, payment, decision).await
        }
        Decided::Already(earlier) => apply(ctx, order, payment, earlier).await,
        Decided::Stale { current_epoch } => {
            // A newer attempt gets the same answer under the same key and records it, unless its run crashes. The queue
            // need not repeat that run: a consumer that lost its lease may begin an attempt after its successor did. So
            // this job is retried until there is a decision.
            tracing::info!(payment.id = %payment.id, epoch, current_epoch, "fenced off by a newer attempt");
            ctx.log(format_args!("attempt {epoch} fenced off by attempt {current_epoch}"));
            Err(JobError::retry(FENCED_OFF))
        }
        Decided::NotFound => Err(JobError::retry("payment_not_found")),
    }
}

async fn apply(ctx: &Context, order: OrderId, payment: &Payment, decision: Decision) -> Result<()> {
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

/// For an order that ended otherwise: ends the charge at the provider, or finds and records one whose run crashed
/// before that.
///
/// An attempt is begun only after such a charge is found: an attempt still in progress must not be fenced off by a run
/// with nothing to record.
async fn find_stray_charge(ctx: &Context, order: &Order) -> Result<()> {
    let env = &ctx.env;
    if env.provider.creates_first() || order.total_minor == 0 {
        return close(ctx, order).await;
    }
    let payment = env.payments.payment(PaymentId::of_order(order.id)).await?;
    let Some(payment) = payment.filter(|payment| payment.epoch > 0) else {
        return rest_after(ctx, order.updated_at);
    };
    if let Some(decision) = payment.decision.clone() {
        return apply(ctx, order.id, &payment, decision).await;
    }
    same_provider(env, &payment)?;
    if let Some(outcome) = env.provider.abandon(&query_of(&payment)).await.map_err(provider_failure)? {
        return learn(ctx, order.id, &payment, outcome).await;
    }
    // The provider knows of no charge: looks again until no call can be in flight any more.
    ctx.log("order ended and no charge found, looking again while a call may be in flight");
    let attempts = env.payments.attempts(payment.id).await?;
    rest_after(ctx, attempts.iter().map(|attempt| attempt.begun_at).fold(order.updated_at, Ord::max))
}

/// Ends the payment of an order that ended otherwise, where only a recorded charge is captured: the attempt fences off
/// all that have not recorded theirs, and its decision keeps later ones from beginning. So no clock is needed to know
/// that no call is in flight.
async fn close(ctx: &Context, order: &Order) -> Result<()> {
    let payment = open(ctx, order).await?;
    let Some(epoch) = begin(ctx, order.id, &payment).await? else { return Ok(()) };
    // Read after the attempt began: no earlier one records a charge any more.
    let fenced = ctx.env.payments.payment(payment.id).await?;
    let fenced = fenced.ok_or_else(|| JobError::retry("payment_not_found"))?;
    let found = match fenced.charge {
        Some(_) => ctx.env.provider.abandon(&query_of(&fenced)).await.map_err(provider_failure)?,
        None => None,
    };
    let outcome = found.unwrap_or_else(|| ChargeOutcome::Declined { code: ORDER_ENDED.to_owned() });
    record(ctx, order.id, &fenced, epoch, outcome).await
}

/// Records an outcome that a lookup found or the provider reported.
pub(super) async fn learn(
    ctx: &Context,
    order: OrderId,
    payment: &Payment,
    outcome: ChargeOutcome,
) -> Result<()> {
    match begin(ctx, order, payment).await? {
        Some(epoch) => record(ctx, order, payment, epoch, outcome).await,
        None => Ok(()),
    }
}

/// Snoozes until no run that began by `since` can still charge; then the job is done.
///
/// `since` is never before the cancellation, even if no attempt had begun by then: a run that lost its lease may have
/// read the order before the cancellation and be about to charge it, and no other job looks for that charge if the run
/// crashes.
fn rest_after(ctx: &Context, since: Timestamp) -> Result<()> {
    let age = between(since, ctx.ambient.now());
    match CALL_STRAY_MAX.checked_sub(age) {
        Some(left) if !left.is_zero() => Err(JobError::Snooze(left)),
        _ => Ok(()),
    }
}
