//! Metrics of the calls to merchants' hooks.

use api::{ApiState, HookCalls};

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter, histogram},
};

pub(super) const CALLS: Metric = counter(
    "orderworks_hook_calls_total",
    &["hook", "outcome"],
    "Calls of merchants' hooks: the answer was used (`answered`), had a status other than 2xx (`rejected`) or was not \
     valid (`invalid`); there was none in time (`timeout`) or at all (`unreachable`); not made, as too many calls of the \
     merchant's were under way (`busy`); ended with its request, as the client left (`abandoned`)",
);
pub(super) const DURATION: Metric = histogram(
    "orderworks_hook_call_seconds",
    &["hook"],
    "How long calls of merchants' hooks took, those that their deadline ended included",
);

pub(crate) fn register(metrics: &Metrics, state: &ApiState) {
    let calls = state.clone();
    metrics.show(&CALLS, move || calls.hook_calls().flat_map(ended).collect());
    let calls = state.clone();
    metrics.show(&DURATION, move || {
        let made = calls.hook_calls().filter(|calls| calls.durations.count() > 0);
        made.map(|calls| Sample::of(&[calls.hook], calls.durations)).collect()
    });
}

fn ended(calls: HookCalls) -> Vec<Sample> {
    let HookCalls { hook, outcomes, .. } = calls;
    outcomes.into_iter().map(|(outcome, count)| Sample::of(&[hook, outcome], count)).collect()
}
