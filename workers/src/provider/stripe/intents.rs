//! Charges: creation of a payment intent, settlement of one without a final status, its report.

use std::time::Duration;

use super::{
    amount::{from_stripe, to_stripe},
    client::{Answer, Client},
    form::Form,
    objects::{Intent, OUR_REASON, StripeError},
    refunds,
};
use crate::provider::{CaptureRequest, ChargeOutcome, ChargeReport, ProviderError};

pub(super) const INTENTS: &str = "/v1/payment_intents";
/// Bank debits take days; Stripe reports their end.
const PENDING_WAIT: Duration = Duration::from_mins(15);
/// See [`crate::provider::PaymentProvider::capture`].
pub(super) async fn capture(
    client: &Client,
    request: &CaptureRequest,
) -> Result<ChargeOutcome, ProviderError> {
    let Some(amount) = to_stripe(request.amount_minor, request.currency) else {
        return Ok(ChargeOutcome::Declined { code: "amount_not_supported".to_owned() });
    };
    // The form is a function of the payment: with another form Stripe would reject the key on the next call.
    let form = Form::new()
        .with("amount", amount)
        .with("currency", request.currency.as_str().to_ascii_lowercase())
        .with("payment_method", &request.method)
        .with("confirm", true)
        .with("off_session", true)
        .with("automatic_payment_methods[enabled]", true)
        .with("automatic_payment_methods[allow_redirects]", "never")
        .with("metadata[order_id]", request.order)
        .with("metadata[payment_id]", request.payment);
    match client.post::<Intent>(INTENTS, form, &request.idempotency_key).await? {
        Answer::Done(intent) if intent.is_over(request.amount_minor, request.currency) => {
            settle(client, intent).await
        }
        Answer::Done(_) => Err(ProviderError::Protocol { detail: "another_charge" }),
        Answer::Refused(error) => refused(client, *error).await,
    }
}

/// The outcome of a charge whose creation was rejected.
async fn refused(client: &Client, error: StripeError) -> Result<ChargeOutcome, ProviderError> {
    let declined = |code: &str| Ok(ChargeOutcome::Declined { code: code.to_owned() });
    if error.kind.as_deref() == Some("card_error") {
        return declined(&error.decline());
    }
    match (error.code.as_deref(), error.param.as_deref()) {
        (Some("payment_intent_unexpected_state"), _) => match error.payment_intent {
            Some(intent) => settle(client, *intent).await,
            None => Err(error.report("charge_refused")),
        },
        (Some(code @ ("amount_too_small" | "amount_too_large")), _) => declined(code),
        // The payment method is the only object of the request that can be missing.
        (Some("resource_missing"), _) | (_, Some("payment_method")) => declined("invalid_payment_method"),
        (_, Some("currency")) => declined("currency_not_supported"),
        _ => Err(error.report("charge_refused")),
    }
}

/// The outcome of an intent. One without a final status is read again, and cancelled where it would never end by
/// itself.
pub(super) async fn settle(client: &Client, intent: Intent) -> Result<ChargeOutcome, ProviderError> {
    if let Some(outcome) = intent.outcome() {
        return Ok(outcome);
    }
    let Some(intent) = read(client, &intent.id).await? else {
        return Err(ProviderError::Protocol { detail: "charge_is_gone" });
    };
    if let Some(outcome) = intent.outcome() {
        return Ok(outcome);
    }
    if intent.status == "processing" {
        return Err(ProviderError::Pending { look_again: PENDING_WAIT });
    }
    let path = format!("{INTENTS}/{}/cancel", intent.id);
    let form = Form::new().with("cancellation_reason", OUR_REASON);
    match client.post::<Intent>(&path, form, &format!("{}:cancel", intent.id)).await? {
        Answer::Done(canceled) => {
            canceled.outcome().ok_or(ProviderError::Protocol { detail: "cancelled_in_vain" })
        }
        // Its status changed meanwhile: the next attempt reads it.
        Answer::Refused(error) if error.is("payment_intent_unexpected_state") => {
            Err(ProviderError::Pending { look_again: Duration::from_secs(1) })
        }
        Answer::Refused(error) => Err(error.report("cancel_refused")),
    }
}

/// See [`crate::provider::PaymentProvider::report`].
pub(super) async fn report(client: &Client, id: &str) -> Result<Option<ChargeReport>, ProviderError> {
    // The id comes from outside, although signed by Stripe: it must not form an arbitrary path.
    if !id.starts_with("pi_") || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(None);
    }
    let Some(intent) = read(client, id).await? else { return Ok(None) };
    let odd = ProviderError::Protocol { detail: "unknown_amount" };
    let currency = intent.currency().ok_or(odd)?;
    let amount_minor = from_stripe(intent.amount, currency).ok_or(odd)?;
    let refunds = if intent.has_succeeded() { refunds::of(client, id, currency).await? } else { Vec::new() };
    let order = intent.metadata.as_ref().and_then(|metadata| metadata.order_id.as_deref()?.parse().ok());
    Ok(Some(ChargeReport { order, amount_minor, currency, outcome: intent.outcome(), refunds }))
}

async fn read(client: &Client, id: &str) -> Result<Option<Intent>, ProviderError> {
    match client.get::<Intent>(&format!("{INTENTS}/{id}"), Form::new()).await? {
        Answer::Done(intent) if intent.id == id => Ok(Some(intent)),
        Answer::Done(_) => Err(ProviderError::Protocol { detail: "another_charge" }),
        Answer::Refused(error) if error.is("resource_missing") => Ok(None),
        Answer::Refused(error) => Err(error.report("lookup_refused")),
    }
}
