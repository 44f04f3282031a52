//! Dead letters by queue, kind and reason, and by error, with redrive and delete of a group.
//!
//! Guarantees: a page looks at [`LOOK_AT`] dead jobs at most and says so where there are more. A redrive or delete
//! takes all that fit, as an operation whose preview counts them.

use std::collections::BTreeMap;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use base::Timestamp;
use jobs::{
    bulk::JOBS,
    engine::{DeadReason, InspectedJob, JobFilter, JobState},
};
use serde::{Deserialize, Serialize};

use super::operation_form::{Action, action_form};
use crate::{
    access::Role,
    answer::{Asked, View, Visitor, named, parameters, set},
    cells::with_query,
    error::ConsoleError,
    page::{Cell, Page, Table},
    state::{Console, ConsoleState},
};

/// Dead jobs looked at for one page.
const LOOK_AT: u32 = 1000;
/// Different errors shown, the most frequent ones.
const ERRORS_SHOWN_MAX: usize = 20;
/// Beginning of an error by which jobs are counted together, in characters; it is part of an address.
const ERROR_CHARS_MAX: usize = 200;

#[derive(Deserialize)]
pub(super) struct DeadQuery {
    queue: Option<String>,
    kind: Option<String>,
    reason: Option<String>,
}

/// Dead jobs with one queue, kind and reason.
#[derive(Debug, Serialize)]
struct DeadGroup {
    queue: String,
    kind: String,
    reason: DeadReason,
    jobs: u64,
    first_died_at: Timestamp,
    last_died_at: Timestamp,
    /// Of the one that died last.
    last_error: Option<String>,
}

/// Dead jobs whose errors begin alike.
#[derive(Debug, Serialize)]
struct DeadError {
    /// The first [`ERROR_CHARS_MAX`] characters; empty for jobs that died without one.
    error: String,
    jobs: u64,
    last_died_at: Timestamp,
}

pub(super) async fn dead(
    State(Console(console)): State<Console>,
    asked: Asked,
    query: Result<Query<DeadQuery>, QueryRejection>,
) -> Result<Response, ConsoleError> {
    let query = parameters(query)?;
    let reason = named("reason", query.reason.as_deref(), &DeadReason::ALL, DeadReason::as_str)?;
    let (queue, kind) = (set(query.queue.as_deref()), set(query.kind.as_deref()));
    asked.answer(&listed(&console, DeadChoice { queue, kind, reason }).await?)
}

/// Groups and errors of the dead jobs looked at, the most frequent first.
async fn listed(console: &ConsoleState, only: DeadChoice) -> Result<DeadList, ConsoleError> {
    let (queue, kind, state) = (only.queue.clone(), only.kind.clone(), Some(JobState::Dead));
    let filter = JobFilter { queue, kind, state, after: None, limit: LOOK_AT };
    let found = console.parts.engine.list(&filter).await?;
    // A page of large jobs may be shorter than its limit: only an empty one would be the last.
    let is_all = match found.last() {
        Some(last) => {
            let rest = JobFilter { after: Some(last.envelope.id), limit: 1, ..filter };
            console.parts.engine.list(&rest).await?.is_empty()
        }
        None => true,
    };
    let mut grouped = Grouped::default();
    for job in found {
        grouped.add(job, only.reason);
    }
    let mut data: Vec<DeadGroup> = grouped.groups.into_values().collect();
    data.sort_by_key(|group| std::cmp::Reverse(group.jobs));
    let mut errors: Vec<DeadError> = grouped.errors.into_values().collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.jobs));
    errors.truncate(ERRORS_SHOWN_MAX);
    Ok(DeadList { at: console.now(), data, errors, is_all, only })
}

/// Dead jobs by what they have in common.
#[derive(Default)]
struct Grouped {
    groups: BTreeMap<(String, String, &'static str), DeadGroup>,
    errors: BTreeMap<String, DeadError>,
}

impl Grouped {
    fn add(&mut self, job: InspectedJob, only: Option<DeadReason>) {
        let InspectedJob { envelope, last_error, dead, .. } = job;
        let Some(dead) = dead.filter(|dead| only.is_none_or(|only| dead.reason == only)) else { return };
        let (queue, kind, reason, at) = (envelope.queue, envelope.kind, dead.reason, dead.died_at);
        self.add_error(last_error.as_deref().unwrap_or_default(), at);
        let name = (queue.clone(), kind.clone(), reason.as_str());
        let group = self.groups.entry(name).or_insert_with(|| DeadGroup {
            queue,
            kind,
            reason,
            jobs: 0,
            first_died_at: at,
            last_died_at: at,
            last_error: None,
        });
        group.jobs += 1;
        group.first_died_at = group.first_died_at.min(at);
        if at >= group.last_died_at {
            (group.last_died_at, group.last_error) = (at, last_error);
        }
    }

    fn add_error(&mut self, error: &str, at: Timestamp) {
        // Without blanks at its ends, which the filter of the jobs does not have either.
        let begin: String = error.trim().chars().take(ERROR_CHARS_MAX).collect();
        let error = begin.trim_end().to_owned();
        let entry = self.errors.entry(error.clone());
        let counted = entry.or_insert_with(|| DeadError { error, jobs: 0, last_died_at: at });
        counted.jobs += 1;
        counted.last_died_at = counted.last_died_at.max(at);
    }
}

/// The group that is chosen; all where nothing is set.
struct DeadChoice {
    queue: Option<String>,
    kind: Option<String>,
    reason: Option<DeadReason>,
}

#[derive(Serialize)]
struct DeadList {
    at: Timestamp,
    data: Vec<DeadGroup>,
    /// The most frequent errors of these jobs.
    errors: Vec<DeadError>,
    /// Whether all dead jobs were looked at.
    is_all: bool,
    #[serde(skip)]
    only: DeadChoice,
}

impl View for DeadList {
    fn page(&self, visitor: &Visitor) -> Page {
        let mut page = Page::new("Dead letters");
        if !self.is_all {
            page.note(
                "info",
                format!("The first {LOOK_AT} are counted here; there are more. An action takes all."),
            );
        }
        page.push(self.table());
        page.push(self.error_table());
        if !self.data.is_empty() {
            self.actions(&mut page, visitor);
        }
        page
    }
}

impl DeadList {
    fn table(&self) -> Table {
        let mut table = Table::new(
            "groups",
            "Dead jobs by queue, kind and reason",
            ["Queue", "Kind", "Reason", "Jobs", "First died", "Last died", "Last error", "Listed"],
        );
        "No job is dead.".clone_into(&mut table.empty);
        for group in &self.data {
            let (queue, kind, reason) = (&*group.queue, &*group.kind, group.reason.as_str());
            let choice = [("queue", queue), ("kind", kind), ("reason", reason)];
            table.push([
                queue.into(),
                if kind.is_empty() { "(not decodable)" } else { kind }.into(),
                Cell::link(reason, with_query("/dead", &choice)),
                Cell::count(group.jobs),
                Cell::time(group.first_died_at, self.at),
                Cell::time(group.last_died_at, self.at),
                group.last_error.as_deref().into(),
                Cell::link(
                    "jobs",
                    with_query("/jobs", &[("state", "dead"), ("queue", queue), ("kind", kind)]),
                ),
            ]);
        }
        table
    }

    fn error_table(&self) -> Table {
        let caption = "Their errors, most frequent first; those that differ in a number count apart";
        let mut table = Table::new("errors", caption, ["Error", "Jobs", "Last died"]);
        "No error of a dead job.".clone_into(&mut table.empty);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (queue, kind) = (text(&self.only.queue), text(&self.only.kind));
        for found in &self.errors {
            let error = found.error.as_str();
            let jobs = [("state", "dead"), ("queue", &*queue), ("kind", &*kind), ("error", error)];
            table.push([
                if error.is_empty() { "-".into() } else { Cell::link(error, with_query("/jobs", &jobs)) },
                Cell::count(found.jobs),
                Cell::time(found.last_died_at, self.at),
            ]);
        }
        table
    }

    fn actions(&self, page: &mut Page, visitor: &Visitor) {
        let DeadChoice { queue, kind, reason } = &self.only;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let reason = reason.map_or("", DeadReason::as_str).to_owned();
        let conditions = vec![("queue", text(queue)), ("kind", text(kind)), ("reason", reason)];
        let chosen: Vec<&str> =
            conditions.iter().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty()).collect();
        let which = if chosen.is_empty() { "all dead jobs".to_owned() } else { chosen.join(", ") };
        for (verb, button, role) in
            [("redrive", "Redrive", Role::Operator), ("delete", "Delete", Role::Admin)]
        {
            if visitor.may(role) {
                let action = Action { items: JOBS, verb, button, is_dangerous: role == Role::Admin };
                page.push(action_form(&action, format!("{button}: {which}"), conditions.clone()));
            }
        }
    }
}
