//! The jobs of the shop, one per file, and what they share.
//!
//! Each file says in its head which steps it takes and why a crash between any two of them is harmless.

mod apply_provider_report;
mod charge_payment;
mod deliver_webhook;
mod fulfil_order;
mod refund_payment;
mod send_email;
mod send_verification;
mod send_welcome;

use std::time::Duration;

use jobs::{Backoff, JobContext, JobError};
use store::{StoreError, domain::Payment};

pub use apply_provider_report::ApplyProviderReport;
pub use charge_payment::ChargePayment;
pub use deliver_webhook::DeliverWebhook;
pub use fulfil_order::FulfilOrder;
pub use refund_payment::RefundPayment;
pub use send_email::SendEmail;
pub use send_verification::SendVerification;
pub use send_welcome::SendWelcome;

use crate::{
    env::Env,
    provider::{ChargeQuery, ProviderError, capture_key},
};

/// Short: a customer waits, and providers recover in seconds. The cap bounds how late a recovery is noticed.
const PROVIDER_BACKOFF: Backoff =
    Backoff::FullJitter { base: Duration::from_millis(200), cap: Duration::from_secs(30) };
/// About half an hour of [`PROVIDER_BACKOFF`]; a longer outage leaves dead jobs to redrive.
const PROVIDER_ATTEMPTS_MAX: u32 = 120;
/// Longest wait a provider may ask for.
const PROVIDER_WAIT_MAX: Duration = Duration::from_mins(5);
/// Wrong credentials are mended by people, not by haste.
const AUTHENTICATION_WAIT: Duration = Duration::from_secs(10);
/// After too many requests, where the provider does not say.
const RATE_LIMITED_WAIT: Duration = Duration::from_secs(2);

/// Puts the job off while no call would be let through, before anything is begun for nothing.
fn unless_paused(env: &Env) -> Result<(), JobError> {
    env.provider.paused().map_or(Ok(()), |wait| Err(JobError::Snooze(wait)))
}

/// What a payment's charge can be found by.
async fn query_of(ctx: &JobContext<Env>, payment: &Payment) -> Result<ChargeQuery, StoreError> {
    let attempts = ctx.env.payments.attempts(payment.id).await?;
    Ok(ChargeQuery {
        idempotency_key: capture_key(payment.id),
        amount_minor: payment.amount_minor,
        currency: payment.currency,
        payment: payment.id,
        asked_at: attempts.iter().map(|attempt| attempt.begun_at).collect(),
    })
}

/// What is next after a provider gave no outcome. Calling again is safe: the key is the same.
///
/// Attempts are for charges that fail, not for a provider that turns everybody away: those wait without using one.
/// That goes on for as long as the provider is configured so, and its breaker and readiness say so meanwhile.
fn provider_failure(error: ProviderError) -> JobError {
    match error {
        ProviderError::Unavailable { retry_after: Some(wait) } => {
            JobError::retry_after(wait.min(PROVIDER_WAIT_MAX), error)
        }
        ProviderError::RateLimited { retry_after } => {
            JobError::Snooze(retry_after.unwrap_or(RATE_LIMITED_WAIT).min(PROVIDER_WAIT_MAX))
        }
        ProviderError::Authentication => JobError::Snooze(AUTHENTICATION_WAIT),
        ProviderError::Paused { wait } => JobError::Snooze(wait),
        ProviderError::Pending { look_again } => JobError::Snooze(look_again),
        ProviderError::Protocol { detail } => {
            tracing::error!(alarm = true, detail, "the payment provider answers nonsense");
            JobError::retry(error)
        }
        _ => JobError::retry(error),
    }
}
