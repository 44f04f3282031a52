//! What was measured, as a Markdown table or as JSON.

use std::time::Duration;

use serde::Serialize;

use super::machine::Machine;
use crate::output;

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// What it is held against, if there is such a figure in the same run or in the design.
    limit: Option<f64>,
    /// Value by limit.
    ratio: Option<f64>,
}

#[derive(Debug, Default)]
pub(super) struct Report(Vec<Figure>);

impl Report {
    pub(super) fn add(&mut self, name: &'static str, value: f64, unit: &'static str, limit: Option<f64>) {
        let ratio = limit.map(|limit| value / limit);
        self.0.push(Figure { name, value, unit, limit, ratio });
    }

    /// Median and 99th percentile in milliseconds.
    pub(super) fn add_latencies(&mut self, names: [&'static str; 2], mut taken: Vec<Duration>) {
        taken.sort_unstable();
        for (name, percent) in names.into_iter().zip([50, 99]) {
            let rank = (taken.len() * percent).div_ceil(100).saturating_sub(1);
            if let Some(taken) = taken.get(rank) {
                self.add(name, taken.as_secs_f64() * 1e3, "ms", None);
            }
        }
    }

    pub(super) fn print(&self, as_json: bool) -> anyhow::Result<()> {
        let machine = Machine::read();
        if as_json {
            let answer = serde_json::json!({
                "machine": machine, "revision": super::machine::revision(), "results": self.0,
            });
            return output::json(&answer);
        }
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|figure| {
                [
                    figure.name.to_owned(),
                    format!("{:.1}", figure.value),
                    figure.unit.to_owned(),
                    figure.limit.map_or_else(String::new, |limit| format!("{limit:.1}")),
                ]
            })
            .collect();
        output::text(&format!("{machine}, revision {}\n\n", super::machine::revision()))?;
        output::table(["FIGURE", "VALUE", "UNIT", "LIMIT"], &rows)
    }
}
