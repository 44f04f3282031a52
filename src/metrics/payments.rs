//! Metrics of payments and of the calls to their provider.

use workers::{
    counts::PaymentCounts,
    provider::{PaymentProvider, breaker::Standing, guard::Guarded},
};

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter, gauge, histogram},
};

pub(super) const PAYMENTS: Metric = counter(
    "orderworks_payments_total",
    &["provider", "outcome"],
    "Payments captured or declined, refunds made or rejected, as this process recorded them",
);
pub(super) const CALLS: Metric = histogram(
    "orderworks_provider_call_seconds",
    &["provider", "operation", "result"],
    "How long calls to the payment provider took; a decline is `answered`, an error or no answer `failed`",
);
pub(super) const BREAKER: Metric = gauge(
    "orderworks_breaker_open",
    &["provider"],
    "1 while the circuit breaker of the provider is open or half open in this process, else 0",
);

/// Registers the metrics of the provider of this process and of the payments that its jobs record.
pub(crate) fn register(metrics: &Metrics, provider: &Guarded, payments: PaymentCounts) {
    let name = provider.name();
    metrics.show(&PAYMENTS, move || {
        payments.all().map(|([outcome], count)| Sample::of(&[name, outcome], count)).collect()
    });
    let calls = provider.calls().clone();
    metrics.show(&CALLS, move || {
        let made = calls.all().filter(|(_, durations)| durations.count() > 0);
        made.map(|([operation, result], durations)| Sample::of(&[name, operation, result], durations))
            .collect()
    });
    let standing = provider.breaker().standing();
    metrics.show(&BREAKER, move || {
        let is_open = *standing.borrow() != Standing::Closed;
        vec![Sample::of(&[name], u64::from(is_open))]
    });
}
