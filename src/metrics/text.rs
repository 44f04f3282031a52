//! Text forms of metrics: `OpenMetrics`, or version 0.0.4 of the Prometheus text form.

use std::collections::HashSet;

use axum::http::{HeaderMap, header};

pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
pub(super) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether `Accept` names `OpenMetrics`, and plain text not before it (RFC 9110, section 12.5.1).
pub(super) fn prefers_open_metrics(headers: &HeaderMap) -> bool {
    let values = || headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let quality = |wanted: &str| {
        let ranges = values().flat_map(|value| value.split(','));
        let qualities = ranges.filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_wanted = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            is_wanted.then(|| weight.and_then(|weight| weight.parse::<f32>().ok()).unwrap_or(1.0))
        });
        qualities.fold(0.0, f32::max)
    };
    let open = quality("application/openmetrics-text");
    open > 0.0 && open >= quality("text/plain")
}

/// The same metrics in version 0.0.4 of the text form: counters are named as their samples are.
pub(super) fn prometheus_text(open: &str) -> String {
    let counters: HashSet<&str> =
        open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open.len());
    for line in open.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                text.extend(["# ", what, " ", name, "_total ", rest]);
            }
            (Some("#"), Some("TYPE"), Some(name), Some("unknown")) => {
                text.extend(["# TYPE ", name, " untyped"]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::prometheus_text;

    #[test]
    fn counters_are_named_as_their_samples() {
        let open = "# HELP a_jobs Jobs done.\n# TYPE a_jobs counter\na_jobs_total{queue=\"x\"} 1\n\
            # HELP a_age_seconds Age.\n# TYPE a_age_seconds gauge\n# UNIT a_age_seconds seconds\n\
            a_age_seconds 2\n# TYPE b unknown\nb 3\n# EOF\n";
        let expected = "# HELP a_jobs_total Jobs done.\n# TYPE a_jobs_total counter\na_jobs_total{queue=\"x\"} 1\n\
            # HELP a_age_seconds Age.\n# TYPE a_age_seconds gauge\na_age_seconds 2\n# TYPE b untyped\nb 3\n";
        assert_eq!(prometheus_text(open), expected);
    }
}
