//! Jobs in the queues, by filters that are links.
//!
//! Guarantees: a page looks at [`LOOK_AT`] jobs at most, whatever the filter, and begins after an id: no page costs
//! more than the first one. Conditions that the engine has no index for (key, error, text) hold for the jobs looked
//! at; the page leads on. What the engine holds and cannot list is counted.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use base::{Timestamp, TraceContext};
use jobs::{
    JobId, Priority,
    engine::{Capabilities, DeadInfo, Depth, InspectedJob, JobFilter, JobState},
};
use serde::{Deserialize, Serialize};
use store::domain::OrderId;

use crate::{
    answer::{Asked, View, Visitor, named, parameters, parsed, set},
    cells::{count, path, with_query},
    error::ConsoleError,
    figures::Figures,
    page::{self, Cell, Field, Link, Links, Page, Table},
    state::{Console, ConsoleState},
};

/// Jobs looked at for one page.
const LOOK_AT: u32 = 200;
/// Jobs shown on one page; the rest of those looked at is on the next one.
const SHOWN_MAX: usize = 50;

#[derive(Deserialize)]
pub(super) struct JobQuery {
    state: Option<String>,
    queue: Option<String>,
    kind: Option<String>,
    key: Option<String>,
    error: Option<String>,
    q: Option<String>,
    after: Option<String>,
}

/// A job, without its payload.
#[derive(Debug, Clone, Serialize)]
pub(super) struct JobSummary {
    pub(super) id: JobId,
    pub(super) kind: String,
    pub(super) queue: String,
    pub(super) state: JobState,
    pub(super) priority: Priority,
    /// Attempts used up.
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
    pub(super) created_at: Timestamp,
    pub(super) run_at: Option<Timestamp>,
    pub(super) subject: Option<String>,
    pub(super) unique_key: Option<String>,
    pub(super) concurrency_key: Option<String>,
    pub(super) order_key: Option<String>,
    /// The job that holds its order key, while it waits for that.
    pub(super) behind: Option<JobId>,
    pub(super) trace_id: Option<String>,
    pub(super) crashes: u32,
    pub(super) last_error: Option<String>,
    pub(super) dead: Option<DeadInfo>,
}

impl From<InspectedJob> for JobSummary {
    fn from(job: InspectedJob) -> Self {
        let InspectedJob { envelope, state, crashes, last_error, dead, behind } = job;
        Self {
            id: envelope.id,
            kind: envelope.kind,
            queue: envelope.queue,
            state,
            priority: envelope.priority,
            attempt: envelope.attempt,
            max_attempts: envelope.max_attempts,
            created_at: envelope.created_at,
            run_at: envelope.run_at,
            subject: envelope.subject,
            unique_key: envelope.unique_key,
            concurrency_key: envelope.concurrency_key,
            order_key: envelope.order_key,
            behind,
            trace_id: envelope.trace.as_ref().map(TraceContext::trace_id),
            crashes,
            last_error,
            dead,
        }
    }
}

impl JobSummary {
    /// The name of its kind; a message that cannot be decoded has none.
    pub(super) fn kind(&self) -> &str {
        if self.kind.is_empty() { "(not decodable)" } else { &self.kind }
    }

    fn matches(&self, filter: &Conditions) -> bool {
        let texts =
            [&self.subject, &self.unique_key, &self.concurrency_key, &self.order_key, &self.last_error];
        let has = |part: &str| {
            self.kind.contains(part)
                || texts.iter().any(|text| text.as_ref().is_some_and(|t| t.contains(part)))
        };
        let error = self.last_error.as_deref().unwrap_or_default();
        let bare = self.unique_key.as_deref().and_then(|key| key.split_once('/')).map(|(_, bare)| bare);
        let keys =
            [self.unique_key.as_deref(), bare, self.concurrency_key.as_deref(), self.order_key.as_deref()];
        (filter.key.is_empty() || keys.contains(&Some(filter.key.as_str())))
            && (filter.error.is_empty() || error.contains(&filter.error))
            && (filter.q.is_empty() || has(&filter.q))
    }
}

/// The conditions of a list; empty ones are not set.
struct Conditions {
    state: Option<JobState>,
    queue: String,
    kind: String,
    key: String,
    error: String,
    q: String,
}

impl Conditions {
    fn new(query: &JobQuery) -> Result<Self, ConsoleError> {
        let text = |text: &Option<String>| set(text.as_deref()).unwrap_or_default();
        Ok(Self {
            state: named("state", query.state.as_deref(), &JobState::ALL, JobState::as_str)?,
            queue: text(&query.queue),
            kind: text(&query.kind),
            key: text(&query.key),
            error: text(&query.error),
            q: text(&query.q),
        })
    }

    /// The address of the list with another state, or after a job.
    fn address(&self, state: Option<JobState>, after: Option<JobId>) -> String {
        let after = after.map(|after| after.to_string()).unwrap_or_default();
        let state = state.map_or("", JobState::as_str);
        let Self { queue, kind, key, error, q, .. } = self;
        with_query(
            "/jobs",
            &[
                ("state", state),
                ("queue", queue.as_str()),
                ("kind", kind.as_str()),
                ("key", key.as_str()),
                ("error", error.as_str()),
                ("q", q.as_str()),
                ("after", after.as_str()),
            ],
        )
    }
}

pub(super) async fn jobs(
    State(Console(console)): State<Console>,
    asked: Asked,
    query: Result<Query<JobQuery>, QueryRejection>,
) -> Result<Response, ConsoleError> {
    let query = parameters(query)?;
    let conditions = Conditions::new(&query)?;
    let after = match set(query.after.as_deref()) {
        Some(after) => Some(parsed(&after)?),
        None => None,
    };
    asked.answer(&listed(&console, conditions, after).await?)
}

/// Figures of the queue that is chosen, or of all.
fn chosen<'a>(figures: &'a Figures, queue: &str) -> Vec<&'a Depth> {
    let chosen = figures.queues.iter().filter(|its| queue.is_empty() || its.name() == queue);
    chosen.map(|its| &its.status.depth).collect()
}

/// What the engine holds of these states and cannot list. Counted by the shared figures: to name the jobs by the log of
/// attempts, as the command does, would be a question for each.
fn unlisted(figures: &Figures, depths: &[&Depth], can: Capabilities, state: Option<JobState>) -> Vec<String> {
    let wants = |wanted| state.is_none_or(|state| state == wanted);
    let mut notes = Vec::new();
    if wants(JobState::Ready) && !can.lists_ready {
        let ready = depths.iter().filter(|depth| depth.ready > 0);
        notes.extend(ready.map(|depth| {
            format!("{}: {} ready jobs that the broker cannot list", depth.queue, count(depth.ready))
        }));
    }
    if wants(JobState::Delayed) && !can.lists_delayed && figures.short_delays > 0 {
        notes.push(format!(
            "{} jobs of any queue in short delays are not listed",
            count(figures.short_delays)
        ));
    }
    notes
}

fn number(depth: &Depth, state: JobState) -> u64 {
    match state {
        JobState::Ready => depth.ready,
        JobState::Delayed => depth.delayed,
        JobState::Running => depth.running,
        JobState::Dead => depth.dead,
    }
}

async fn listed(
    console: &ConsoleState,
    conditions: Conditions,
    after: Option<JobId>,
) -> Result<JobList, ConsoleError> {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let (queue, kind) = (some(&conditions.queue), some(&conditions.kind));
    let filter = JobFilter { queue, kind, state: conditions.state, after, limit: LOOK_AT };
    let (engine, figures) = (&console.parts.engine, console.figures().await?);
    let found = engine.list(&filter).await?;
    let depths = chosen(&figures, &conditions.queue);
    let notes = unlisted(&figures, &depths, engine.capabilities(), conditions.state);
    let totals = JobState::ALL.map(|state| depths.iter().map(|depth| number(depth, state)).sum::<u64>());
    let mut next = found.last().map(|job| job.envelope.id);
    if next.is_some() && found.len() < LOOK_AT as usize {
        // A page of large jobs may be shorter than its limit: only an empty one is the last.
        let rest = JobFilter { after: next, limit: 1, ..filter };
        if engine.list(&rest).await?.is_empty() {
            next = None;
        }
    }
    let mut data: Vec<JobSummary> =
        found.into_iter().map(JobSummary::from).filter(|job| job.matches(&conditions)).collect();
    if data.len() > SHOWN_MAX {
        data.truncate(SHOWN_MAX);
        next = data.last().map(|job| job.id);
    }
    Ok(JobList { at: console.now(), data, next, notes, totals, conditions })
}

#[derive(Serialize)]
struct JobList {
    at: Timestamp,
    data: Vec<JobSummary>,
    /// The job after which the next page begins; `None` on the last one.
    next: Option<JobId>,
    /// What the list does not show.
    notes: Vec<String>,
    /// Jobs of the queue, or of all, in each state of [`JobState::ALL`].
    #[serde(skip)]
    totals: [u64; 4],
    #[serde(skip)]
    conditions: Conditions,
}

impl View for JobList {
    fn page(&self, _: &Visitor) -> Page {
        let mut page = Page::new("Jobs");
        let conditions = &self.conditions;
        let of_queue = if conditions.queue.is_empty() { "of all queues" } else { conditions.queue.as_str() };
        let link = |text: String, state: Option<JobState>| {
            let (href, is_current) = (conditions.address(state, None), state == conditions.state);
            Link { text, href, is_current }
        };
        let states = JobState::ALL.into_iter().zip(self.totals);
        let states =
            states.map(|(state, jobs)| link(format!("{} {}", state.as_str(), count(jobs)), Some(state)));
        let links = std::iter::once(link("all".to_owned(), None)).chain(states).collect();
        page.push(Links { label: format!("Jobs {of_queue}"), links });
        page.push(self.filter_form());
        for note in &self.notes {
            page.note("info", note.as_str());
        }
        let mut table = job_table("Jobs, oldest first", &self.data, self.at);
        if let Some(next) = self.next {
            table.next = conditions.address(conditions.state, Some(next));
            "None among the jobs looked at for this page.".clone_into(&mut table.empty);
        }
        page.push(table);
        page
    }
}

impl JobList {
    fn filter_form(&self) -> page::Form {
        let conditions = &self.conditions;
        let state = conditions.state.map_or("", JobState::as_str);
        page::Form {
            legend: "Filter".to_owned(),
            method: "get",
            action: "/jobs".to_owned(),
            hidden: vec![page::Hidden { name: "state", value: state.to_owned() }],
            fields: vec![
                field("queue", "Queue", &conditions.queue),
                field("kind", "Kind", &conditions.kind),
                field("key", "Key", &conditions.key),
                field("error", "Error has", &conditions.error),
                field("q", "Any text", &conditions.q),
            ],
            button: "Apply".to_owned(),
            is_dangerous: false,
        }
    }
}

fn field(name: &'static str, label: &'static str, value: &str) -> Field {
    Field { name, label, value: value.to_owned(), kind: "text", is_required: false }
}

fn job_table(caption: &str, jobs: &[JobSummary], now: Timestamp) -> Table {
    let mut table = Table::new(
        "jobs",
        caption,
        ["Job", "Kind", "Queue", "State", "Attempts", "Published", "Due", "Subject", "Last error"],
    );
    for job in jobs {
        let id = job.id.to_string();
        table.push([
            Cell::link(id.as_str(), path("/jobs", &id)),
            job.kind().into(),
            Cell::link(job.queue.as_str(), path("/queues", &job.queue)),
            state_cell(job.state),
            Cell::number(format!("{}/{}", job.attempt, job.max_attempts)),
            Cell::time(job.created_at, now),
            Cell::optional_time(job.run_at.filter(|_| job.state == JobState::Delayed), now),
            subject_cell(job.subject.as_deref()),
            job.last_error.as_deref().into(),
        ]);
    }
    table
}

pub(super) fn state_cell(state: JobState) -> Cell {
    let class = match state {
        JobState::Dead => "bad",
        JobState::Delayed => "warn",
        JobState::Running => "good",
        JobState::Ready => "",
    };
    Cell::marked(class, state.as_str())
}

/// The subject, with a link where it is an order.
pub(super) fn subject_cell(subject: Option<&str>) -> Cell {
    let order = subject.filter(|subject| subject.parse::<OrderId>().is_ok());
    Cell::link(subject, order.map(|order| path("/orders", order)).unwrap_or_default())
}
