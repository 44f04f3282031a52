//! Declaration of a metric, and its samples.

use base::DurationSnapshot;

/// A metric as it is declared: the only place that says its name, type, labels and meaning.
#[derive(Debug)]
pub(super) struct Metric {
    /// Name in the text form; that of a counter ends in `_total`.
    pub(super) name: &'static str,
    pub(super) kind: MetricKind,
    pub(super) labels: &'static [&'static str],
    /// Meaning, without a full stop.
    pub(super) help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    /// The type in all text forms.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

pub(super) const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Counter, labels, help }
}

pub(super) const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, labels, help }
}

pub(super) const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Histogram, labels, help }
}

/// One series of a metric, with its value now.
#[derive(Debug)]
pub(super) struct Sample {
    /// Values of the labels, in the order of their declaration.
    pub(super) labels: Vec<String>,
    pub(super) value: SampleValue,
}

#[derive(Debug)]
pub(super) enum SampleValue {
    Whole(u64),
    Real(f64),
    Durations(DurationSnapshot),
}

impl Sample {
    /// The series with these values of the labels, in the order of their declaration.
    pub(super) fn of(labels: &[&str], value: impl Into<SampleValue>) -> Self {
        Self { labels: labels.iter().map(|label| (*label).to_owned()).collect(), value: value.into() }
    }

    /// The only series of a metric without labels.
    pub(super) fn only(value: impl Into<SampleValue>) -> Vec<Self> {
        vec![Self::of(&[], value)]
    }
}

impl From<u64> for SampleValue {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for SampleValue {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<DurationSnapshot> for SampleValue {
    fn from(value: DurationSnapshot) -> Self {
        Self::Durations(value)
    }
}
