//! Exemplars of a process's histograms, as `/metrics` shows them.

use base::Timestamp;

use super::{fetch, http};

/// A duration of one bucket, with its trace.
#[derive(Debug)]
pub(crate) struct ShownExemplar {
    /// Name and labels of the bucket.
    pub(crate) series: String,
    pub(crate) trace: String,
    seconds: f64,
    /// Seconds since 1970.
    at: f64,
}

/// All exemplars. Fails for one outside of its bucket, or of a time before `began`, and for one in the form of
/// Prometheus.
pub(crate) async fn since(base: &str, began: Timestamp) -> Vec<ShownExemplar> {
    let url = format!("{base}/metrics");
    let plain = fetch(&url).await.text().await.expect("a text");
    assert!(!plain.contains("trace_id"), "{plain}");
    let call = http().get(&url).header("accept", "application/openmetrics-text");
    let text = call.send().await.expect("answers").text().await.expect("a text");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let shown: Vec<_> = text.lines().filter_map(ShownExemplar::read).collect();
    for ShownExemplar { series, seconds, at, .. } in &shown {
        let bound = series.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"')).expect("a bound").0;
        assert!(*seconds <= bound.parse::<f64>().expect("a number"), "{series}: {seconds}");
        assert!(*at >= began.as_duration().as_secs_f64(), "{series}: {at}");
    }
    shown
}

impl ShownExemplar {
    /// `None`: the line has no exemplar.
    fn read(line: &str) -> Option<Self> {
        let (sample, exemplar) = line.split_once(" # {trace_id=\"")?;
        let (trace, measured) = exemplar.split_once("\"} ").expect("an end of the labels");
        let (seconds, at) = measured.split_once(' ').expect("a time");
        Some(Self {
            series: sample.rsplit_once(' ').expect("a value").0.to_owned(),
            trace: trace.to_owned(),
            seconds: seconds.parse().expect("a number"),
            at: at.parse().expect("a number"),
        })
    }

    pub(crate) fn is_of(&self, name: &str, labels: &str) -> bool {
        self.series.starts_with(name) && self.series.contains(labels)
    }
}
