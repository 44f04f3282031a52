//! Metric of mails to customers.

use std::sync::Arc;

use workers::mail::Mailer;

use super::{
    exposition::Metrics,
    metric::{Metric, Sample, counter},
};

pub(super) const MAILS: Metric = counter(
    "orderworks_mails_total",
    &["template", "outcome"],
    "Mails handed to the mail server (`sent`) or refused by it for good (`rejected`), and attempts that it postponed \
     (`postponed`) or did not answer (`unreachable`)",
);

/// Registers the metric of the mails of this process.
pub(crate) fn register(metrics: &Metrics, mailer: &Mailer) {
    let counts = Arc::clone(mailer.counts());
    metrics.show(&MAILS, move || counts.all().map(|(labels, count)| Sample::of(&labels, count)).collect());
}
