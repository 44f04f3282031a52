//! Payment intents: creation, and the outcome of each status.
//!
//! | status | outcome |
//! |---|---|
//! | `succeeded` | captured |
//! | `requires_payment_method` | declined with the code of the last error; `card_declined` without one |
//! | `canceled` | declined: `authentication_required` if we cancelled it, else `payment_canceled` |
//! | `processing` | none yet: [`ProviderError::Pending`] |
//! | `requires_action`, `requires_confirmation`, `requires_capture` | cancelled, then as above (no customer here) |

use std::time::Duration;

use serde::Deserialize;
use store::domain::Currency;

use super::{
    amount::{from_stripe, to_stripe},
    client::{Answer, Client},
    error::StripeError,
    form::Form,
    refunds,
};
use crate::provider::{CaptureRequest, ChargeOutcome, ChargeReport, ProviderError};

pub(super) const INTENTS: &str = "/v1/payment_intents";
/// Bank debits take days; Stripe reports their end.
const PENDING_WAIT: Duration = Duration::from_mins(15);
/// Reason given for our own cancellations, which identifies them later.
const OUR_REASON: &str = "abandoned";

/// A payment intent; only the members used here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    status: String,
    amount: i64,
    currency: String,
    metadata: Option<Metadata>,
    last_payment_error: Option<Box<StripeError>>,
    cancellation_reason: Option<String>,
}

/// Metadata that we wrote.
#[expect(clippy::struct_field_names, reason = "the names in Stripe's dashboard")]
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Metadata {
    pub(super) order_id: Option<String>,
    pub(super) payment_id: Option<String>,
    pub(super) refund_id: Option<String>,
}

impl Intent {
    pub(super) fn payment(&self) -> Option<&str> {
        self.metadata.as_ref()?.payment_id.as_deref()
    }

    pub(super) fn is_over(&self, amount_minor: i64, currency: Currency) -> bool {
        to_stripe(amount_minor, currency) == Some(self.amount) && self.currency() == Some(currency)
    }

    pub(super) fn has_succeeded(&self) -> bool {
        self.status == "succeeded"
    }

    fn currency(&self) -> Option<Currency> {
        self.currency.to_ascii_uppercase().parse().ok()
    }

    /// The final outcome, where the status is final.
    fn outcome(&self) -> Option<ChargeOutcome> {
        let declined = |code: String| Some(ChargeOutcome::Declined { code });
        match self.status.as_str() {
            "succeeded" => Some(ChargeOutcome::Captured { reference: self.id.clone() }),
            "requires_payment_method" => {
                let error = self.last_payment_error.as_deref();
                declined(error.map_or_else(|| "card_declined".to_owned(), StripeError::decline))
            }
            "canceled" if self.cancellation_reason.as_deref() == Some(OUR_REASON) => {
                declined("authentication_required".to_owned())
            }
            "canceled" => declined("payment_canceled".to_owned()),
            _ => None,
        }
    }
}

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
