//! Jobs of the shop, one per file, and their common handling of provider errors.
//!
//! The module doc of each file lists its steps and why a crash between any two of them is harmless.

mod apply_provider_report;
mod audit_changes;
mod charge_payment;
mod delete_expired;
mod deliver_webhook;
mod drop_dead_jobs;
mod expire_orders;
mod expire_reservations;
mod fulfil_order;
mod maintain_partitions;
mod refund_payment;
mod send_email;
mod send_verification;
mod send_welcome;

use std::time::Duration;

use base::time::between;
use jobs::{Backoff, JobError};
use store::domain::Payment;

pub use apply_provider_report::ApplyProviderReport;
pub use audit_changes::AuditChanges;
pub use charge_payment::ChargePayment;
pub use delete_expired::DeleteExpired;
pub use deliver_webhook::DeliverWebhook;
pub use drop_dead_jobs::DropDeadJobs;
pub use expire_orders::{ExpireOrders, ORDERS_SLICE};
pub use expire_reservations::{ExpireReservations, RESERVATIONS_SLICE};
pub use fulfil_order::FulfilOrder;
pub use maintain_partitions::MaintainPartitions;
pub use refund_payment::RefundPayment;
pub use send_email::SendEmail;
pub use send_verification::SendVerification;
pub use send_welcome::SendWelcome;

use crate::{
    env::{Context, Env},
    provider::{ChargeQuery, ProviderError, capture_key},
};

/// What a step of a job gives, or how its run ends.
type Result<T, E = JobError> = std::result::Result<T, E>;

/// Backoff of provider calls. Short: a customer waits, and providers recover in seconds. The cap bounds how late a
/// recovery is noticed.
const PROVIDER_BACKOFF: Backoff =
    Backoff::FullJitter { base: Duration::from_millis(200), cap: Duration::from_secs(30) };
/// About half an hour of [`PROVIDER_BACKOFF`]; a longer outage leaves dead letters to redrive.
const PROVIDER_ATTEMPTS_MAX: u32 = 120;
/// Longest wait a provider may ask for.
const PROVIDER_WAIT_MAX: Duration = Duration::from_mins(5);
/// Wait after rejected credentials: an operator has to correct them, so a quick retry is useless.
const AUTHENTICATION_WAIT: Duration = Duration::from_secs(10);
/// Wait after a rate-limit answer without `Retry-After`.
const RATE_LIMITED_WAIT: Duration = Duration::from_secs(2);

/// Delays of a job whose subject is not found: more than [`NOT_FOUND_WINDOW`] in all.
const NOT_FOUND_BACKOFF: Backoff = Backoff::Table(&[
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(3),
    Duration::from_mins(6),
]);
const NOT_FOUND_WINDOW: Duration = Duration::from_mins(10);
/// Attempts at least, so that a job which waited for longer than the window looks again, too.
const NOT_FOUND_ATTEMPTS: u32 = 5;

/// Next step of a job whose subject the store does not have. The subject was committed before the job was published,
/// so the job looks for it over a window before it ends as cancelled: what is missing may be back by then, as after a
/// restore.
fn not_found(ctx: &Context, subject: &str) -> JobError {
    let error = format!("{subject}{NOT_FOUND}");
    let is_over = between(ctx.created_at, ctx.ambient.now()) > NOT_FOUND_WINDOW;
    if ctx.is_last_attempt() || (is_over && ctx.attempt > NOT_FOUND_ATTEMPTS) {
        return JobError::cancel(error);
    }
    JobError::retry_after(NOT_FOUND_BACKOFF.delay(ctx.attempt, &ctx.ambient), error)
}

/// End of the error of every job that ended without its subject.
const NOT_FOUND: &str = "_not_found";

/// Whether a job ended because its subject was not found, rather than on purpose.
pub(crate) fn ended_without_subject(error: &str) -> bool {
    error.ends_with(NOT_FOUND)
}

/// Bounds a call, whatever the provider's own limits are.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    tokio::time::timeout(limit, call).await.unwrap_or(Err(ProviderError::Unknown { cause: "timeout" }))
}

/// Snoozes the job while no call would be let through, before it begins a useless attempt.
fn unless_paused(env: &Env) -> Result<()> {
    env.provider.paused().map_or(Ok(()), |wait| Err(JobError::Snooze(wait)))
}

fn query_of(payment: &Payment) -> ChargeQuery {
    ChargeQuery { idempotency_key: capture_key(payment.id), charge: payment.charge.clone() }
}

/// Snoozes the job while the configured provider is not the one that has the payment: it could neither find the charge
/// there nor refund it, and would charge a second time. A payment of nothing is at no provider.
fn same_provider(env: &Env, payment: &Payment) -> Result<()> {
    if payment.amount_minor == 0 || payment.provider == env.provider.name() {
        return Ok(());
    }
    tracing::error!(alarm = true, payment.id = %payment.id, provider = payment.provider, "payment is at another provider");
    Err(JobError::Snooze(PROVIDER_WAIT_MAX))
}

/// Next step of a job after a call without an outcome. Calling again is safe: the key is the same.
///
/// Attempts are for charges that fail. A provider that turns every call away (rate limit, rejected credentials, open
/// breaker) uses none: the job snoozes for as long as that lasts, and breaker and readiness report it.
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
        ProviderError::Pending { look_again } | ProviderError::Debit { look_again } => {
            JobError::Snooze(look_again)
        }
        ProviderError::Protocol { detail } => {
            tracing::error!(alarm = true, detail, "payment provider response invalid");
            JobError::retry(error)
        }
        _ => JobError::retry(error),
    }
}
