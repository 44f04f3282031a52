//! Figures of one run, and their output formats.

use std::{fmt::Write, time::Duration};

use serde::Serialize;

use crate::machine::{Machine, revision};

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// The figure it is compared to, from the same run or the design.
    limit: Option<f64>,
    /// Value divided by limit.
    ratio: Option<f64>,
}

/// Figures in the order of measurement, and the versions of the measured servers.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
    versions: Vec<(String, String)>,
}

impl Report {
    /// Adds a figure; its ratio is the value divided by the limit.
    pub fn add(&mut self, name: &'static str, value: f64, unit: &'static str, limit: Option<f64>) {
        let ratio = limit.map(|limit| value / limit);
        self.figures.push(Figure { name, value, unit, limit, ratio });
    }

    /// Adds median and 99th percentile in milliseconds.
    pub fn add_latencies(&mut self, names: [&'static str; 2], taken: Vec<Duration>) {
        for (name, ms) in names.into_iter().zip(percentiles(taken).into_iter().flatten()) {
            self.add(name, ms, "ms", None);
        }
    }

    /// Adds the version of a measured server.
    pub fn add_version(&mut self, name: impl Into<String>, version: String) {
        self.versions.push((name.into(), version));
    }

    /// The report as one JSON value.
    pub fn json(&self) -> serde_json::Value {
        let versions: serde_json::Map<_, _> =
            self.versions.iter().map(|(name, version)| (name.clone(), version.as_str().into())).collect();
        serde_json::json!({
            "machine": Machine::read(), "revision": revision(), "versions": versions, "results": self.figures,
        })
    }

    /// The report as Markdown: a line on machine and versions, and a table.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}, revision {}", Machine::read(), revision());
        for (name, version) in &self.versions {
            let _ = write!(text, ", {name} {version}");
        }
        text.push_str("\n\n");
        let rows: Vec<[String; 5]> = self.figures.iter().map(Figure::cells).collect();
        table(&mut text, ["figure", "value", "unit", "limit", "ratio"].map(str::to_owned), &rows);
        text
    }
}

impl Figure {
    fn cells(&self) -> [String; 5] {
        let shown = |value: Option<f64>, digits: usize| {
            value.map_or_else(String::new, |value| format!("{value:.digits$}"))
        };
        // A rate needs no decimals, a latency does.
        let digits = if self.value < 100.0 { 2 } else { 0 };
        [
            self.name.to_owned(),
            shown(Some(self.value), digits),
            self.unit.to_owned(),
            shown(self.limit, digits),
            shown(self.ratio, 2),
        ]
    }
}

/// Pads the columns, so that the table is readable without a renderer.
fn table<const N: usize>(text: &mut String, headings: [String; N], rows: &[[String; N]]) {
    let mut widths = headings.each_ref().map(|heading| heading.len().max(3));
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let rule = widths.map(|width| "-".repeat(width));
    for row in [&headings, &rule].into_iter().chain(rows) {
        text.push('|');
        for (width, cell) in widths.into_iter().zip(row) {
            let _ = write!(text, " {cell:<width$} |");
        }
        text.push('\n');
    }
}

/// Whether a figure matches `--only NAME[,NAME…]`, parts of names; every figure does without it.
#[must_use]
pub fn wanted(only: Option<&str>, name: &str) -> bool {
    only.is_none_or(|only| only.split(',').any(|part| name.contains(part)))
}

/// Median and 99th percentile in milliseconds; `None` without values.
pub fn percentiles(mut taken: Vec<Duration>) -> Option<[f64; 2]> {
    taken.sort_unstable();
    let at = |percent: usize| taken.get((taken.len() * percent).div_ceil(100).saturating_sub(1));
    Some([at(50)?, at(99)?].map(|taken| taken.as_secs_f64() * 1e3))
}

/// For memory sizes, which are far below 2^52 KiB.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub fn kib_to_mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
