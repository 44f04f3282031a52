//! Metrics of the protection against card testing.

use api::{ApiState, CardTestingCounts};

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter, gauge},
};

pub(super) const ATTEMPTS: Metric = counter(
    "orderworks_card_attempts_total",
    &["decision"],
    "Orders with a publishable key that were let through (`accepted`), asked for a proof of work (`proof_required`) or \
     refused (`refused`), as too many before were not paid or were declined",
);
pub(super) const PAYMENTS: Metric = counter(
    "orderworks_card_payments_total",
    &["outcome"],
    "Payments of orders that this process accepted, as it saw them end: `captured` or `declined`",
);
pub(super) const ALARMS: Metric = gauge(
    "orderworks_card_testing_alarms",
    &[],
    "Merchants so many of whose payments are declined that guests need a proof of work for each order",
);

pub(crate) fn register(metrics: &Metrics, state: &ApiState) {
    let of = |state: &ApiState| {
        let state = state.clone();
        move || state.card_testing()
    };
    let counts = of(state);
    metrics.show(&ATTEMPTS, move || {
        let CardTestingCounts { accepted, proof_required, refused, .. } = counts();
        let samples = [("accepted", accepted), ("proof_required", proof_required), ("refused", refused)];
        samples.into_iter().map(|(decision, number)| Sample::of(&[decision], number)).collect()
    });
    let counts = of(state);
    metrics.show(&PAYMENTS, move || {
        let CardTestingCounts { captured, declined, .. } = counts();
        let samples = [("captured", captured), ("declined", declined)];
        samples.into_iter().map(|(outcome, number)| Sample::of(&[outcome], number)).collect()
    });
    let counts = of(state);
    metrics.show(&ALARMS, move || Sample::only(counts().alarms));
}
