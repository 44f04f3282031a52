//! Refunds at Stripe.
//!
//! `succeeded`, `pending` and `requires_action` count as done: the money is on its way and Stripe completes it.
//! `failed` and `canceled` count as refused. A refund that fails later is reported, see
//! [`crate::jobs::ApplyProviderReport`].

use serde::Deserialize;
use store::domain::Currency;

use super::{
    amount::{from_stripe, to_stripe},
    client::{Answer, List, StripeProvider},
    form::Form,
    objects::{Metadata, StripeError},
};
use crate::provider::{ProviderError, RefundOutcome, RefundReport, RefundRequest, Result};

const REFUNDS: &str = "/v1/refunds";
/// Most pages of one charge's refunds; Stripe's own limit is far below.
const PAGES_MAX: u32 = 10;

#[derive(Deserialize)]
struct Refund {
    id: String,
    amount: i64,
    status: Option<String>,
    failure_reason: Option<String>,
    metadata: Option<Metadata>,
}

impl Refund {
    fn ours(&self) -> Option<&str> {
        self.metadata.as_ref()?.refund_id.as_deref()
    }

    fn outcome(self) -> RefundOutcome {
        match self.status.as_deref() {
            Some("failed" | "canceled") => RefundOutcome::Refused {
                code: self.failure_reason.unwrap_or_else(|| "refund_failed".to_owned()),
            },
            _ => RefundOutcome::Done { reference: self.id },
        }
    }
}

/// See [`crate::provider::PaymentProvider::refund`].
pub(super) async fn refund(stripe: &StripeProvider, request: &RefundRequest) -> Result<RefundOutcome> {
    let Some(amount) = to_stripe(request.amount_minor, request.currency) else {
        return Ok(RefundOutcome::Refused { code: "amount_not_supported".to_owned() });
    };
    let known = list(stripe, &request.charge).await?;
    let ours = |refund: &Refund| refund.ours() == Some(request.idempotency_key.as_str());
    let refund = match known.into_iter().find(ours) {
        Some(refund) => refund,
        None => match create(stripe, request, amount).await? {
            Answer::Done(refund) => refund,
            Answer::Refused(error) => return refused(&error),
        },
    };
    if refund.amount != amount {
        return Err(ProviderError::Protocol { detail: "another_refund" });
    }
    Ok(refund.outcome())
}

/// All refunds of a charge, oldest first.
pub(super) async fn of(
    stripe: &StripeProvider,
    charge: &str,
    currency: Currency,
) -> Result<Vec<RefundReport>> {
    let report = |refund: Refund| {
        let (reference, id) = (refund.id.clone(), refund.ours().and_then(|id| id.parse().ok()));
        let amount = from_stripe(refund.amount, currency);
        let amount_minor = amount.ok_or(ProviderError::Protocol { detail: "unknown_amount" })?;
        Ok(RefundReport { reference, refund: id, amount_minor, outcome: refund.outcome() })
    };
    list(stripe, charge).await?.into_iter().rev().map(report).collect()
}

async fn create(stripe: &StripeProvider, request: &RefundRequest, amount: i64) -> Result<Answer<Refund>> {
    let form = Form::new()
        .with("payment_intent", &request.charge)
        .with("amount", amount)
        .with("metadata[order_id]", request.order)
        .with("metadata[refund_id]", &request.idempotency_key);
    stripe.post(REFUNDS, form, Some(&request.idempotency_key)).await
}

/// The outcome of a permanent rejection.
fn refused(error: &StripeError) -> Result<RefundOutcome> {
    let code = match error.code.as_deref() {
        Some(code @ ("charge_already_refunded" | "charge_disputed")) => code,
        Some("resource_missing") => return Err(ProviderError::OWN_CHARGE_MISSING),
        // "Refund amount is greater than unrefunded amount on charge".
        _ if error.is_about("amount") => "refund_exceeds_charge",
        _ => return Err(error.report("refund_refused")),
    };
    Ok(RefundOutcome::Refused { code: code.to_owned() })
}

/// All refunds of a charge, newest first.
async fn list(stripe: &StripeProvider, charge: &str) -> Result<Vec<Refund>> {
    let mut all: Vec<Refund> = Vec::new();
    for _ in 0..PAGES_MAX {
        let (query, after) = (Form::new().with("payment_intent", charge), all.last());
        let after = after.map(|last| last.id.as_str());
        let page: List<Refund> = match stripe.list(REFUNDS, query, after).await? {
            Answer::Done(page) => page,
            Answer::Refused(error) if error.is("resource_missing") => {
                return Err(ProviderError::OWN_CHARGE_MISSING);
            }
            Answer::Refused(error) => return Err(error.report("list_refused")),
        };
        let more = page.has_more && !page.data.is_empty();
        all.extend(page.data);
        if !more {
            return Ok(all);
        }
    }
    Err(ProviderError::TOO_MANY_TO_SEARCH)
}
