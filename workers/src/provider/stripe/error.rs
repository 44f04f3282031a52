//! Statuses of Stripe's answers.
//!
//! | status | meaning here |
//! |---|---|
//! | 400, 402, 404 | interpreted by the caller: a decline, a rejection, or an invalid request |
//! | 401, 403 | [`ProviderError::Authentication`] |
//! | 409 | another call under the key is in flight: [`ProviderError::RateLimited`], with a short wait |
//! | 429 | [`ProviderError::RateLimited`] |
//! | 424, 5xx | [`ProviderError::Unknown`]: "treat the result as indeterminate" (Stripe) |

use std::time::Duration;

use http::StatusCode;

use crate::provider::{ProviderError, Result};

/// Wait after a call that met another one in flight under its key.
const IN_USE_WAIT: Duration = Duration::from_secs(1);

/// Maps the status of an answer without a result; `Ok` where the caller interprets the answer.
pub(super) fn refusal(status: StatusCode, retry_after: Option<Duration>) -> Result<()> {
    match status.as_u16() {
        200..=299 | 400 | 402 | 404 => Ok(()),
        401 | 403 => Err(ProviderError::Authentication),
        409 => Err(ProviderError::RateLimited { retry_after: Some(IN_USE_WAIT) }),
        429 => Err(ProviderError::RateLimited { retry_after }),
        424 | 500..=599 => Err(ProviderError::Unknown { cause: "server_error" }),
        _ => Err(ProviderError::Protocol { detail: "unexpected_status" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_money_may_have_moved() {
        let of = |status: u16| refusal(StatusCode::from_u16(status).expect("a status"), None);
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
