//! Text form of metrics that a reader prefers; [`super::writer`] writes it.

use axum::http::{HeaderMap, header};

/// A text form of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextForm {
    /// Version 1.0.0 of `OpenMetrics`: with exemplars.
    OpenMetrics,
    /// Version 0.0.4 of the text form of Prometheus.
    Prometheus,
}

impl TextForm {
    /// `OpenMetrics` where `Accept` names it, and plain text not before it (RFC 9110, section 12.5.1).
    pub(super) fn preferred(headers: &HeaderMap) -> Self {
        let open = quality(headers, "application/openmetrics-text");
        let is_open = open > 0.0 && open >= quality(headers, "text/plain");
        if is_open { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The weight that `Accept` gives to a media type; 0 where it does not name it.
fn quality(headers: &HeaderMap, wanted: &str) -> f32 {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = values.flat_map(|value| value.split(','));
    let qualities = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_wanted = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        is_wanted.then(|| weight.and_then(|weight| weight.parse::<f32>().ok()).unwrap_or(1.0))
    });
    qualities.fold(0.0, f32::max)
}
