//! The jobs of the shop, one per file, and what they share.
//!
//! Each file says in its head which steps it takes and why a crash between any two of them is harmless.

mod charge_payment;
mod deliver_webhook;
mod fulfil_order;
mod refund_payment;
mod send_email;
mod send_welcome;

use std::time::Duration;

use jobs::{Backoff, JobError};

pub use charge_payment::ChargePayment;
pub use deliver_webhook::DeliverWebhook;
pub use fulfil_order::FulfilOrder;
pub use refund_payment::RefundPayment;
pub use send_email::SendEmail;
pub use send_welcome::SendWelcome;

use crate::provider::ProviderError;

/// Short: a customer waits, and providers recover in seconds. The cap bounds how late a recovery is noticed.
const PROVIDER_BACKOFF: Backoff =
    Backoff::FullJitter { base: Duration::from_millis(200), cap: Duration::from_secs(30) };
/// About half an hour of [`PROVIDER_BACKOFF`]; a longer outage leaves dead jobs to redrive.
const PROVIDER_ATTEMPTS_MAX: u32 = 120;
/// Longest wait a provider may ask for.
const PROVIDER_WAIT_MAX: Duration = Duration::from_mins(5);
/// Wrong credentials are mended by people, not by haste.
const AUTHENTICATION_WAIT: Duration = Duration::from_secs(30);

/// What is next after a provider gave no outcome. Calling again is safe: the key is the same.
fn provider_failure(error: ProviderError) -> JobError {
    match error {
        ProviderError::Unavailable { retry_after: Some(wait) }
        | ProviderError::RateLimited { retry_after: Some(wait) } => {
            JobError::retry_after(wait.min(PROVIDER_WAIT_MAX), error)
        }
        ProviderError::Authentication => {
            tracing::error!(alarm = true, "the payment provider refuses our credentials");
            JobError::retry_after(AUTHENTICATION_WAIT, error)
        }
        ProviderError::Protocol { detail } => {
            tracing::error!(alarm = true, detail, "the payment provider answers nonsense");
            JobError::retry(error)
        }
        _ => JobError::retry(error),
    }
}
