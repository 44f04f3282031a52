//! Metrics of the admission of orders.

use api::{AdmissionCounts, ApiState};

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter},
};

pub(super) const ORDERS: Metric = counter(
    "orderworks_admission_total",
    &["decision"],
    "Orders that went on to be placed (`accepted`), were refused as orders wait for too long (`refused`), or whose \
     shoppers have to go through the waiting room first (`waiting`)",
);

pub(crate) fn register(metrics: &Metrics, state: &ApiState) {
    let state = state.clone();
    metrics.show(&ORDERS, move || {
        let AdmissionCounts { accepted, refused, waiting } = state.admission();
        let samples = [("accepted", accepted), ("refused", refused), ("waiting", waiting)];
        samples.into_iter().map(|(decision, number)| Sample::of(&[decision], number)).collect()
    });
}
