//! Objects in Stripe's answers: payment intent, its metadata, error.
//!
//! | status | meaning here |
//! |---|---|
//! | `succeeded` | captured |
//! | `canceled` | declined: code of the last error; else `authentication_required` if ours, `payment_canceled` if not |
//! | `processing` | a bank debit on its way: [`ProviderError::Debit`] |
//! | `requires_payment_method`, `requires_confirmation` with an error | the card was declined: cancelled |
//! | the same without an error | not confirmed, or the bank is being asked: no outcome, and left alone |
//! | any other | cancelled as `authentication_required` (no customer here) |

use serde::Deserialize;
use store::domain::{Currency, OrderId, PaymentId};

use super::amount::to_stripe;
use crate::provider::{ChargeOutcome, ProviderError, Result, wire::decode};

/// Reason given for our own cancellations, which identifies them later.
pub(super) const OUR_REASON: &str = "abandoned";

/// Decline codes that customers are not told, because the bank suspects fraud (Stripe, "Decline codes"): reported as a
/// plain decline.
const CONFIDENTIAL: [&str; 9] = [
    "fraudulent",
    "generic_decline",
    "lost_card",
    "merchant_blacklist",
    "pickup_card",
    "restricted_card",
    "security_violation",
    "stolen_card",
    "stop_payment_order",
];

/// A payment intent; only the members used here.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) amount: i64,
    currency: String,
    /// Seconds since the epoch.
    #[serde(default)]
    pub(super) created: i64,
    metadata: Option<Metadata>,
    last_payment_error: Option<Box<StripeError>>,
    latest_charge: Option<LatestCharge>,
    cancellation_reason: Option<String>,
}

/// The charge of an intent: its id, or the whole where it was asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum LatestCharge {
    Whole { amount_refunded: i64 },
    Other(serde::de::IgnoredAny),
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
    pub(super) fn order(&self) -> Option<OrderId> {
        self.metadata.as_ref()?.order_id.as_deref()?.parse().ok()
    }

    pub(super) fn payment(&self) -> Option<PaymentId> {
        self.metadata.as_ref()?.payment_id.as_deref()?.parse().ok()
    }

    /// Whether it was captured and not refunded in full.
    pub(super) fn holds_money(&self) -> bool {
        let whole = |charge: &LatestCharge| matches!(charge, LatestCharge::Whole { amount_refunded } if *amount_refunded >= self.amount);
        self.has_succeeded() && !self.latest_charge.as_ref().is_some_and(whole)
    }

    pub(super) fn is_over(&self, amount_minor: i64, currency: Currency) -> bool {
        to_stripe(amount_minor, currency) == Some(self.amount) && self.currency() == Some(currency)
    }

    pub(super) fn has_succeeded(&self) -> bool {
        self.status == "succeeded"
    }

    pub(super) fn currency(&self) -> Option<Currency> {
        self.currency.to_ascii_uppercase().parse().ok()
    }

    pub(super) fn is_canceled(&self) -> bool {
        self.status == "canceled"
    }

    /// See the head of this file.
    pub(super) fn standing(&self) -> Standing {
        let error = self.last_payment_error.as_deref().map(StripeError::decline);
        let declined = |code: &str| error.clone().unwrap_or_else(|| code.to_owned());
        match (self.status.as_str(), &error) {
            ("succeeded", _) => {
                Standing::Final(ChargeOutcome::Captured { provider_reference: self.id.clone() })
            }
            ("canceled", _) => {
                let ours = self.cancellation_reason.as_deref() == Some(OUR_REASON);
                let code = declined(if ours { "authentication_required" } else { "payment_canceled" });
                Standing::Final(ChargeOutcome::Declined { code })
            }
            ("processing", _) => Standing::Processing,
            ("requires_payment_method" | "requires_confirmation", None) => Standing::Unconfirmed,
            ("requires_payment_method" | "requires_confirmation", Some(code)) => {
                Standing::Stuck { code: code.clone() }
            }
            _ => Standing::Stuck { code: "authentication_required".to_owned() },
        }
    }
}

pub(super) enum Standing {
    Final(ChargeOutcome),
    /// It holds no money, unless a call under way brings it.
    Unconfirmed,
    Processing,
    /// Nothing here can advance it; the code of the decline once it is cancelled.
    Stuck {
        code: String,
    },
}

/// Error object of Stripe. Its message is not read: it is written for people and may quote the request.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct StripeError {
    pub(super) code: Option<String>,
    pub(super) decline_code: Option<String>,
    pub(super) param: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    error: StripeError,
}

impl StripeError {
    pub(super) fn of(body: &[u8]) -> Result<Self> {
        Ok(decode::<Body>(body)?.error)
    }

    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    pub(super) fn is_about(&self, param: &str) -> bool {
        self.param.as_deref() == Some(param)
    }

    /// The decline code, as far as customers may be told.
    pub(super) fn decline(&self) -> String {
        let told = |code: &&String| !CONFIDENTIAL.contains(&code.as_str());
        let code = self.decline_code.as_ref().filter(told).or(self.code.as_ref()).filter(told);
        code.map_or_else(|| "card_declined".to_owned(), String::clone)
    }

    /// Logs an unexpected rejection and returns it as a protocol error.
    pub(super) fn report(&self, what: &'static str) -> ProviderError {
        let Self { kind, code, param, .. } = self;
        tracing::error!(
            error.kind = kind,
            error.code = code,
            error.param = param,
            what,
            "Stripe rejected a call"
        );
        match kind.as_deref() {
            Some("idempotency_error") => ProviderError::Protocol { detail: "idempotency_key_reused" },
            _ => ProviderError::Protocol { detail: what },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(body: &str) -> StripeError {
        StripeError::of(body.as_bytes()).expect("an error")
    }

    #[test]
    fn declines_are_told_by_the_most_telling_code_that_may_be_told() {
        for (body, code) in [
            (
                r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"insufficient_funds"}}"#,
                "insufficient_funds",
            ),
            (
                r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"generic_decline"}}"#,
                "card_declined",
            ),
            (
                r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"stolen_card"}}"#,
                "card_declined",
            ),
            (r#"{"error":{"type":"card_error","code":"expired_card"}}"#, "expired_card"),
            (
                r#"{"error":{"type":"card_error","code":"authentication_required","decline_code":"authentication_required"}}"#,
                "authentication_required",
            ),
            (r#"{"error":{"type":"card_error"}}"#, "card_declined"),
        ] {
            assert_eq!(error(body).decline(), code, "{body}");
        }
    }
}
