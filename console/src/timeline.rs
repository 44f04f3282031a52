//! Timelines: what happened to a job or an order, in the order of time, whichever store tells it.

use base::Timestamp;
use jobs::records::{AttemptOutcome, AttemptRecord};
use serde::Serialize;

use crate::{
    cells::{path, span},
    page::{Cell, Table},
};

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TimelineEntry {
    pub(crate) at: Timestamp,
    /// What it happened to: `request`, `job`, `log`, `operation`, `event`, `payment`, `refund`, `mail`, `webhook`.
    pub(crate) what: &'static str,
    pub(crate) text: String,
    pub(crate) detail: String,
    /// The job it is about.
    pub(crate) job: Option<String>,
    /// Whether it went as it should; `None` where that cannot be said.
    pub(crate) is_well: Option<bool>,
}

impl TimelineEntry {
    pub(crate) fn new(at: Timestamp, what: &'static str, text: impl Into<String>) -> Self {
        Self { at, what, text: text.into(), detail: String::new(), job: None, is_well: None }
    }

    /// A finished attempt of a job.
    pub(crate) fn of_attempt(record: &AttemptRecord) -> Self {
        let AttemptRecord { job, kind, attempt, worker, outcome, error, duration, .. } = record;
        let error = error.as_deref().unwrap_or_default();
        Self {
            text: format!("{kind}: attempt {attempt} {}", outcome.as_str()),
            detail: format!("{} in {worker} {error}", span(*duration)),
            job: Some(job.to_string()),
            is_well: is_well(*outcome),
            ..Self::new(record.started_at, "job", "")
        }
    }
}

/// How an attempt ended.
pub(crate) fn outcome_cell(outcome: AttemptOutcome) -> Cell {
    Cell::marked(class_of(is_well(outcome)), outcome.as_str())
}

fn is_well(outcome: AttemptOutcome) -> Option<bool> {
    match outcome {
        AttemptOutcome::Completed => Some(true),
        AttemptOutcome::Retried | AttemptOutcome::Dead | AttemptOutcome::Cancelled => Some(false),
        AttemptOutcome::Snoozed | AttemptOutcome::Stale => None,
    }
}

fn class_of(is_well: Option<bool>) -> &'static str {
    match is_well {
        Some(true) => "good",
        Some(false) => "bad",
        None => "",
    }
}

/// The entries by time, oldest first.
pub(crate) fn timeline_table(caption: &str, entries: &[TimelineEntry], now: Timestamp) -> Table {
    let mut sorted: Vec<&TimelineEntry> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.at);
    let mut table = Table::new("timeline", caption, ["Time", "What", "Event", "Detail"]);
    for entry in sorted {
        let class = class_of(entry.is_well);
        let href = entry.job.as_deref().map(|job| path("/jobs", job)).unwrap_or_default();
        table.push([
            Cell::time(entry.at, now),
            entry.what.into(),
            Cell::link(Cell::marked(class, entry.text.as_str()), href),
            entry.detail.as_str().into(),
        ]);
    }
    table
}
