//! Sparklines: the last hour of a figure as a line of an SVG path, with the same in words.
//!
//! Guarantees: the line ends at the present, an hour is its whole width, and zero is its lower edge; where there was no
//! sample or no figure it has a gap. Lowest, highest and last value stand beside it, so that nothing is told by the
//! drawing alone.

use std::{fmt::Write as _, time::Duration};

use base::{Timestamp, time::between};

use crate::{
    cells::span,
    history::{QueueSample, SAMPLE_EVERY},
    page::{Cell, Chart},
};

/// Size of the drawing in units of its path, as the template sets it.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;
/// Room for the stroke at the edges.
const MARGIN: f64 = 1.5;
/// Time that the width stands for.
const SHOWN: Duration = Duration::from_hours(1);
/// Samples that are further apart are not joined.
const JOINED_WITHIN: Duration = SAMPLE_EVERY.saturating_mul(3);

/// A figure over time.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    value: fn(&QueueSample) -> Option<f64>,
    show: fn(f64) -> String,
}

pub(crate) const READY: Series = Series {
    name: "Ready jobs",
    value: |sample| Some(number(sample.ready)),
    show: |value| format!("{value:.0}"),
};
pub(crate) const OLDEST_AGE: Series = Series {
    name: "Age of the oldest ready job",
    value: |sample| Some(number(sample.oldest_age_ms)),
    show: milliseconds,
};
pub(crate) const RATE: Series = Series {
    name: "Completed/min",
    value: |sample| sample.completed_per_minute,
    show: |value| format!("{value:.1}"),
};
pub(crate) const WAIT: Series =
    Series { name: "Wait p95", value: |sample| sample.wait_p95_ms.map(number), show: milliseconds };

/// The last hour of a figure: the line, its range in words, and the values for programs.
pub(crate) fn chart(series: &Series, samples: &[QueueSample], now: Timestamp) -> Cell {
    let shown = samples.iter().filter(|sample| between(sample.at, now) <= SHOWN);
    let points: Vec<(Timestamp, f64)> =
        shown.filter_map(|sample| Some((sample.at, (series.value)(sample)?))).collect();
    let (Some((first_at, _)), Some((_, last))) = (points.first(), points.last()) else {
        return Cell::unknown();
    };
    let lowest = points.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let highest = points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let [lowest_text, highest_text, last_text] = [lowest, highest, *last].map(series.show);
    let since = span(between(*first_at, now));
    let label = format!("{}, last {since}: {lowest_text} to {highest_text}, now {last_text}", series.name);
    let values: Vec<String> = points.iter().map(|(_, value)| value.to_string()).collect();
    Cell {
        raw: values.join(" "),
        class: "number drawn",
        chart: Chart { path: path(&points, highest, now), label },
        ..Cell::from(format!("{lowest_text} to {highest_text}"))
    }
}

fn path(points: &[(Timestamp, f64)], highest: f64, now: Timestamp) -> String {
    let mut path = String::new();
    let mut before: Option<Timestamp> = None;
    for (at, value) in points {
        let age = between(*at, now).as_secs_f64() / SHOWN.as_secs_f64();
        let x = WIDTH - MARGIN - age * (WIDTH - 2.0 * MARGIN);
        let part = if highest > 0.0 { value / highest } else { 0.0 };
        let y = HEIGHT - MARGIN - part * (HEIGHT - 2.0 * MARGIN);
        let is_joined = before.is_some_and(|before| between(before, *at) <= JOINED_WITHIN);
        // A line of no length shows a point that stands alone. Writing to a string does not fail.
        let command = if is_joined { 'L' } else { 'M' };
        let _ = write!(path, "{command}{x:.1} {y:.1}{}", if is_joined { "" } else { "h0" });
        before = Some(*at);
    }
    path
}

fn milliseconds(value: f64) -> String {
    span(Duration::try_from_secs_f64(value / 1000.0).unwrap_or_default())
}

/// A count, of four billion at most.
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: i64, ready: u64) -> QueueSample {
        let at = Timestamp::from_second(second).expect("a time");
        QueueSample { at, ready, oldest_age_ms: 0, completed_per_minute: None, wait_p95_ms: None }
    }

    #[test]
    fn a_line_ends_at_the_present_and_has_gaps() {
        let now = Timestamp::from_second(3600).expect("a time");
        let samples = [sample(0, 0), sample(120, 10), sample(3480, 5), sample(3600, 0)];
        let drawn = chart(&READY, &samples, now);
        assert_eq!(drawn.chart.path, "M1.5 22.5h0L5.4 1.5M114.6 12.0h0L118.5 22.5");
        assert_eq!((drawn.text.as_str(), drawn.raw.as_str()), ("0 to 10", "0 10 5 0"));
        assert_eq!(drawn.chart.label, "Ready jobs, last 60 min: 0 to 10, now 0");
        let late = Timestamp::from_second(7200).expect("a time");
        assert_eq!(chart(&READY, &samples, late).raw, "0", "what is older than an hour is not shown");
    }

    #[test]
    fn a_figure_that_was_never_known_has_no_line() {
        let now = Timestamp::from_second(60).expect("a time");
        let drawn = chart(&WAIT, &[sample(0, 1)], now);
        assert_eq!((drawn.text.as_str(), drawn.chart.path.as_str()), ("-", ""));
        let flat = chart(&READY, &[sample(0, 0)], now).chart.path;
        assert!(flat.ends_with(" 22.5h0"), "zero is the lower edge: {flat}");
    }
}
