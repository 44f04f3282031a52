//! Declaration of a metric, and its samples.

use std::{fmt, time::Duration};

use base::DurationSnapshot;
use prometheus_client::{
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

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
    labels: Vec<String>,
    value: SampleValue,
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

impl Metric {
    /// Writes the metric with its samples; without samples, nothing.
    pub(super) fn encode(&self, samples: &[Sample], mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if samples.is_empty() {
            return Ok(());
        }
        // The encoder appends the ending of counters to their samples itself.
        let family = self.name.strip_suffix("_total").unwrap_or(self.name);
        let metric_type = match self.kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Gauge => MetricType::Gauge,
            MetricKind::Histogram => MetricType::Histogram,
        };
        let help = format!("{}.", self.help);
        let mut encoder = encoder.encode_descriptor(family, &help, None, metric_type)?;
        for Sample { labels, value } in samples {
            debug_assert_eq!(labels.len(), self.labels.len(), "labels of {}", self.name);
            let labels: Vec<(&str, &str)> =
                self.labels.iter().copied().zip(labels.iter().map(String::as_str)).collect();
            if labels.is_empty() {
                self.encode_value(value, &mut encoder)?;
            } else {
                self.encode_value(value, &mut encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_value(&self, value: &SampleValue, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let is_counter = self.kind == MetricKind::Counter;
        match value {
            SampleValue::Whole(value) if is_counter => {
                encoder.encode_counter::<NoLabelSet, u64, u64>(value, None)
            }
            SampleValue::Real(value) if is_counter => {
                encoder.encode_counter::<NoLabelSet, f64, u64>(value, None)
            }
            SampleValue::Whole(value) => encoder.encode_gauge(value),
            SampleValue::Real(value) => encoder.encode_gauge(value),
            SampleValue::Durations(durations) => {
                let bounds = durations.bounds.iter().map(Duration::as_secs_f64);
                let bounds = bounds.chain([f64::INFINITY]);
                let buckets: Vec<(f64, u64)> = bounds.zip(durations.counts.iter().copied()).collect();
                let sum = durations.sum.as_secs_f64();
                encoder.encode_histogram::<NoLabelSet>(sum, durations.count(), &buckets, None)
            }
        }
    }
}
