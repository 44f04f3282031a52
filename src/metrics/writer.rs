//! Writer of the text forms of metrics.
//!
//! Guarantees: each metric is one block, which begins with its meaning and type; values of labels are escaped, so that
//! none adds a line or a label; exemplars are in `OpenMetrics` only, as the other form has no place for them. Written
//! here, and not by the client library of Prometheus: that one writes exemplars of its own histograms only, each
//! observation of which waits for a lock. Specifications: `OpenMetrics` 1.0, and "Exposition formats" of the
//! documentation of Prometheus.

use std::{borrow::Cow, time::Duration};

use base::{DurationSnapshot, Exemplar};

use super::{
    metric::{Metric, Sample, SampleValue},
    text::TextForm,
};

/// A text that metrics are written to.
pub(super) struct TextWriter {
    form: TextForm,
    text: String,
}

impl TextWriter {
    pub(super) fn new(form: TextForm) -> Self {
        Self { form, text: String::new() }
    }

    /// Writes a metric with its samples; without samples, nothing.
    pub(super) fn write(&mut self, metric: &Metric, samples: &[Sample]) {
        if samples.is_empty() {
            return;
        }
        let (name, kind) = (metric.name, metric.kind.as_str());
        // The ending of a counter is that of its samples in OpenMetrics, and part of its name in the other form.
        let family = match self.form {
            TextForm::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
            TextForm::Prometheus => name,
        };
        self.text.extend(["# HELP ", family, " ", metric.help, ".\n# TYPE ", family, " ", kind, "\n"]);
        for sample in samples {
            let labels = labels_of(metric, sample);
            match &sample.value {
                SampleValue::Whole(value) => self.line([name, ""], &labels, &value.to_string()),
                SampleValue::Real(value) => self.line([name, ""], &labels, &real(*value)),
                SampleValue::Durations(durations) => self.histogram(name, &labels, durations),
            }
        }
    }

    /// The text of all metrics that were written.
    pub(super) fn finish(mut self) -> String {
        if self.form == TextForm::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn histogram(&mut self, name: &str, labels: &str, durations: &DurationSnapshot) {
        let bounds = durations.bounds.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count: u64 = 0;
        for (bucket, (bound, added)) in bounds.zip(&durations.counts).enumerate() {
            count += added;
            let labels = format!("le=\"{}\"{comma}{labels}", real(bound));
            let exemplar = self.exemplar(durations.exemplars.get(bucket).and_then(Option::as_ref));
            self.line([name, "_bucket"], &labels, &format!("{count}{exemplar}"));
        }
        self.line([name, "_count"], labels, &count.to_string());
        self.line([name, "_sum"], labels, &real(durations.sum.as_secs_f64()));
    }

    /// What follows the count of a bucket with this exemplar, in this form.
    fn exemplar(&self, exemplar: Option<&Exemplar>) -> String {
        match exemplar {
            Some(Exemplar { trace, duration, at }) if self.form == TextForm::OpenMetrics => {
                let (value, at) = (real(duration.as_secs_f64()), real(at.as_duration().as_secs_f64()));
                format!(" # {{trace_id=\"{}\"}} {value} {at}", trace.trace_id())
            }
            _ => String::new(),
        }
    }

    /// One series, with the ending of its name.
    fn line(&mut self, [name, ending]: [&str; 2], labels: &str, value: &str) {
        let (open, close) = if labels.is_empty() { ("", " ") } else { ("{", "} ") };
        self.text.extend([name, ending, open, labels, close, value, "\n"]);
    }
}

/// The labels of a sample, without the braces.
fn labels_of(metric: &Metric, sample: &Sample) -> String {
    debug_assert_eq!(metric.labels.len(), sample.labels.len(), "labels of {}", metric.name);
    let labels = metric.labels.iter().zip(&sample.labels);
    let labels: Vec<_> = labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    labels.join(",")
}

fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return value.into();
    }
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n").into()
}

/// A number with a point or an exponent, as `OpenMetrics` wants bounds: `1.0`, not `1`.
fn real(value: f64) -> String {
    match (value.is_infinite(), value.is_sign_positive()) {
        (true, true) => "+Inf".to_owned(),
        (true, false) => "-Inf".to_owned(),
        (false, _) => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use base::{Ambient, DurationHistogram, Timestamp, TraceContext};

    use super::*;
    use crate::metrics::metric::{counter, gauge, histogram};

    const RUNS: Metric = counter("a_runs_total", &["queue", "kind"], "Runs");
    const AGE: Metric = gauge("a_age_seconds", &[], "Age");
    const TIME: Metric = histogram("a_time_seconds", &["route"], "Time");
    const BOUNDS: &[Duration] = &[Duration::from_micros(2500), Duration::from_secs(1)];

    fn written(form: TextForm) -> String {
        let mut writer = TextWriter::new(form);
        writer.write(&RUNS, &[Sample::of(&["x", "a \"b\"\\\n"], 1_u64), Sample::of(&["y", ""], u64::MAX)]);
        writer.write(&AGE, &Sample::only(2.0));
        let durations = DurationHistogram::new(BOUNDS);
        for millis in [1, 2, 500, 1500] {
            durations.observe(Duration::from_millis(millis));
        }
        writer.write(&TIME, &[Sample::of(&["/{id}"], durations.snapshot())]);
        writer.write(&TIME, &[]);
        writer.finish()
    }

    #[test]
    fn both_forms_hold_the_same_samples() {
        let samples = |name: &str| {
            format!(
                r#"# HELP {name} Runs.
# TYPE {name} counter
a_runs_total{{queue="x",kind="a \"b\"\\\n"}} 1
a_runs_total{{queue="y",kind=""}} 18446744073709551615
# HELP a_age_seconds Age.
# TYPE a_age_seconds gauge
a_age_seconds 2.0
# HELP a_time_seconds Time.
# TYPE a_time_seconds histogram
a_time_seconds_bucket{{le="0.0025",route="/{{id}}"}} 2
a_time_seconds_bucket{{le="1.0",route="/{{id}}"}} 3
a_time_seconds_bucket{{le="+Inf",route="/{{id}}"}} 4
a_time_seconds_count{{route="/{{id}}"}} 4
a_time_seconds_sum{{route="/{{id}}"}} 2.003
"#
            )
        };
        assert_eq!(written(TextForm::Prometheus), samples("a_runs_total"));
        assert_eq!(written(TextForm::OpenMetrics), samples("a_runs") + "# EOF\n");
    }

    #[test]
    fn exemplars_stand_beside_their_buckets_in_open_metrics_only() {
        let (trace, durations) = (TraceContext::fresh(&Ambient::system()), DurationHistogram::new(BOUNDS));
        let at = Timestamp::from_millisecond(1_750_000_000_250).expect("a time");
        durations.observe_traced(Duration::from_millis(30), Some((&trace, at)));
        let written = |form| {
            let mut writer = TextWriter::new(form);
            writer.write(&TIME, &[Sample::of(&["/"], durations.snapshot())]);
            writer.finish()
        };
        let text = written(TextForm::OpenMetrics);
        let expected = format!(
            r#"a_time_seconds_bucket{{le="1.0",route="/"}} 1 # {{trace_id="{}"}} 0.03 1750000000.25"#,
            trace.trace_id()
        );
        assert!(text.lines().any(|line| line == expected), "{text}");
        assert_eq!(text.matches("trace_id").count(), 1, "{text}");
        assert_eq!(written(TextForm::Prometheus).matches("trace_id").count(), 0);
    }
}
