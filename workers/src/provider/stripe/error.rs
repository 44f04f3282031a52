//! Errors of Stripe.
//!
//! | status | meaning here |
//! |---|---|
//! | 400, 402, 404 | interpreted by the caller: a decline, a rejection, or an invalid request |
//! | 401, 403 | [`ProviderError::Authentication`] |
//! | 409 | another call under the key is in flight: [`ProviderError::RateLimited`], with a short wait |
//! | 429 | [`ProviderError::RateLimited`] |
//! | 424, 5xx | [`ProviderError::Unknown`]: "treat the result as indeterminate" (Stripe) |

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::intents::Intent;
use crate::provider::{ProviderError, wire::decode};

/// Wait after a call that met another one in flight under its key.
const IN_USE_WAIT: Duration = Duration::from_secs(1);

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

/// Error object of Stripe. Its message is not read: it is written for people and may quote the request.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct StripeError {
    pub(super) code: Option<String>,
    pub(super) decline_code: Option<String>,
    pub(super) param: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) payment_intent: Option<Box<Intent>>,
}

#[derive(Deserialize)]
struct Body {
    error: StripeError,
}

impl StripeError {
    pub(super) fn of(body: &[u8]) -> Result<Self, ProviderError> {
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

/// Maps the status of an answer without a result; `Ok` where the caller interprets the answer.
pub(super) fn refusal(
    status: StatusCode,
    headers: &HeaderMap,
    retry_after: impl FnOnce(&HeaderMap) -> Option<Duration>,
) -> Result<(), ProviderError> {
    match status.as_u16() {
        200..=299 | 400 | 402 | 404 => Ok(()),
        401 | 403 => Err(ProviderError::Authentication),
        409 => Err(ProviderError::RateLimited { retry_after: Some(IN_USE_WAIT) }),
        429 => Err(ProviderError::RateLimited { retry_after: retry_after(headers) }),
        424 | 500..=599 => Err(ProviderError::Unknown { cause: "server_error" }),
        _ => Err(ProviderError::Protocol { detail: "unexpected_status" }),
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

    #[test]
    fn a_status_says_whether_money_may_have_moved() {
        let of = |status: u16| {
            let status = StatusCode::from_u16(status).expect("a status");
            refusal(status, &HeaderMap::new(), |_| None)
        };
        for status in [200, 400, 402, 404] {
            assert_eq!(of(status), Ok(()), "{status}");
        }
        for status in [401, 403, 409, 429] {
            assert!(of(status).is_err_and(|error| !error.may_have_happened()), "{status}");
        }
        for status in [424, 500, 502, 503, 504, 301, 418] {
            assert!(of(status).is_err_and(|error| error.may_have_happened()), "{status}");
        }
    }
}
