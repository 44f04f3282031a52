//! Discounts, shipping and taxes of an order, decided by the merchant's hooks.
//!
//! Guarantees: the hooks of a merchant are asked in the order discounts, shipping, taxes, each with what the earlier
//! ones decided; a call ends within [`crate::ApiConfig::hook_deadline`]; an answer is used only if it is whole and
//! valid; without one there is no adjustment of the kind, or the request is rejected, as the merchant chose. What was
//! decided holds for lines of the same sum only, which the order store checks. A merchant with slow hooks holds at most
//! [`hooks::CALLS_PER_MERCHANT_MAX`] calls of this process.
//!
//! Does not repeat calls, and remembers no answer: a quote and the order that follows may differ, which
//! `expected_total_minor` tells. Read on in [`answer`], and in docs/API.md, "Hooks".

mod answer;
mod counts;
mod hooks;
mod question;

use base::ids::Uuid;
use futures::{StreamExt, TryStreamExt, stream};
use store::{
    catalog::Product,
    checkout::{CheckoutSettings, Hook, HookOtherwise},
    domain::{Adjustment, AdjustmentKind, Currency, Pricing, line_total, sum},
    orders::{NewLine, Refusal},
};
use webhooks::{HookCall, HookError};

pub use self::counts::HookCalls;
use self::{
    answer::{AnswerError, adjustments},
    counts::HookOutcome,
    question::{Question, QuestionLine},
};
pub(crate) use self::{hooks::Hooks, question::ToPrice};
use crate::{
    problem::{Kind, Problem, Result},
    state::ApiState,
};

/// Products looked up concurrently for one order.
const LOOKUPS_MAX: usize = 8;
/// Seconds after which a client may repeat a request that was rejected without an answer.
const RETRY_SECONDS: u64 = 2;

/// Result of pricing an order or a cart.
pub(crate) enum PricingOutcome {
    Priced(Pricing),
    /// Lines that cannot be ordered as they are.
    Refused(Vec<Refusal>),
}

/// Why a hook decided nothing.
#[derive(Debug, thiserror::Error)]
enum HookFailure {
    #[error(transparent)]
    Call(#[from] HookError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("too many calls of the merchant's hooks at once")]
    Busy,
}

impl HookFailure {
    fn outcome(&self) -> HookOutcome {
        match self {
            Self::Call(HookError::Status(_)) => HookOutcome::Rejected,
            Self::Call(HookError::TooLong) | Self::Answer(_) => HookOutcome::Invalid,
            Self::Call(error) if error.is_timeout() => HookOutcome::Timeout,
            Self::Call(_) => HookOutcome::Unreachable,
            Self::Busy => HookOutcome::Busy,
        }
    }
}

/// Prices the lines at the present prices and asks the merchant's hooks.
pub(crate) async fn price(
    state: &ApiState,
    settings: &CheckoutSettings,
    wanted: ToPrice<'_>,
) -> Result<PricingOutcome> {
    let lines = match priced_lines(state, wanted).await? {
        Ok(lines) => lines,
        Err(refusals) => return Ok(PricingOutcome::Refused(refusals)),
    };
    let too_large = || PricingOutcome::Refused(vec![Refusal::TotalTooLarge]);
    let Some(subtotal_minor) = sum(lines.iter().map(|line| line.total_minor)) else {
        return Ok(too_large());
    };
    let mut pricing = Pricing { subtotal_minor, adjustments: Vec::new() };
    for kind in AdjustmentKind::ALL {
        let Some(hook) = settings.hooks.get(&kind) else { continue };
        let found = decided(state, (kind, hook), wanted, &lines, &pricing).await?;
        pricing.adjustments.extend(found);
    }
    if pricing.total_minor().is_none() { Ok(too_large()) } else { Ok(PricingOutcome::Priced(pricing)) }
}

/// The lines at the present prices, read from the store itself: cached ones would be refused when the order is placed.
async fn priced_lines(
    state: &ApiState,
    wanted: ToPrice<'_>,
) -> Result<Result<Vec<QuestionLine>, Vec<Refusal>>> {
    let look = |line: NewLine| async move {
        let product = state.orders.product(wanted.merchant, &line.sku).await?;
        Ok::<_, Problem>((line, product))
    };
    let found: Vec<(NewLine, Option<Product>)> =
        stream::iter(wanted.lines.to_vec()).map(look).buffered(LOOKUPS_MAX).try_collect().await?;
    let (mut lines, mut refusals) = (Vec::with_capacity(found.len()), Vec::new());
    for (index, (line, product)) in found.into_iter().enumerate() {
        match priced_line(index, line, product, wanted.currency) {
            Ok(line) => lines.push(line),
            Err(refusal) => refusals.push(refusal),
        }
    }
    Ok(if refusals.is_empty() { Ok(lines) } else { Err(refusals) })
}

fn priced_line(
    index: usize,
    line: NewLine,
    product: Option<Product>,
    currency: Currency,
) -> Result<QuestionLine, Refusal> {
    let product = product.ok_or(Refusal::UnknownSku { line: index })?;
    if product.currency != currency {
        return Err(Refusal::WrongCurrency { line: index, expected: product.currency });
    }
    let total_minor = line_total(product.price_minor, line.quantity).ok_or(Refusal::TotalTooLarge)?;
    Ok(QuestionLine {
        sku: line.sku,
        name: product.name,
        category: product.category,
        quantity: line.quantity,
        price_minor: product.price_minor,
        total_minor,
    })
}

/// The adjustments of one kind: the hook's answer, or what the merchant chose for the lack of one.
async fn decided(
    state: &ApiState,
    (kind, hook): (AdjustmentKind, &Hook),
    wanted: ToPrice<'_>,
    lines: &[QuestionLine],
    so_far: &Pricing,
) -> Result<Vec<Adjustment>> {
    let call = state.hooks.counts.begin(kind);
    let answered = ask(state, (kind, hook), wanted, lines, so_far).await;
    call.end(answered.as_ref().err().map_or(HookOutcome::Answered, HookFailure::outcome));
    let error = match answered {
        Ok(found) => return Ok(found),
        Err(error) => error,
    };
    let otherwise = hook.otherwise.as_str();
    tracing::warn!(merchant.id = %wanted.merchant, hook = kind.as_str(), %error, otherwise, "hook not answered");
    match hook.otherwise {
        HookOtherwise::Nothing => Ok(Vec::new()),
        HookOtherwise::Refuse => {
            let detail = format!("the shop cannot decide the {kind} now; nothing was ordered");
            Err(Problem::new(Kind::PRICING_UNAVAILABLE, detail).retry_after(RETRY_SECONDS))
        }
    }
}

async fn ask(
    state: &ApiState,
    (kind, hook): (AdjustmentKind, &Hook),
    wanted: ToPrice<'_>,
    lines: &[QuestionLine],
    so_far: &Pricing,
) -> Result<Vec<Adjustment>, HookFailure> {
    let _slot = state.hooks.calls.take(wanted.merchant).ok_or(HookFailure::Busy)?;
    let (at, id) = (state.ambient.now(), call_id(state.ambient.uuid()));
    let call = HookCall {
        url: &hook.url,
        secret: &hook.secret,
        id,
        body: Question::new(kind, wanted, lines, so_far, at).to_json(),
        trace: wanted.trace.cloned(),
        at,
        deadline: state.config.hook_deadline,
    };
    let body = state.hooks.caller.call(call).await?;
    Ok(adjustments(kind, &body, so_far)?)
}

/// Id of a call, by which both sides find it in their logs.
fn call_id(uuid: Uuid) -> String {
    format!("hok_{uuid}")
}
