//! One job: its state, its timeline up to now, what its code has reported, and the actions on it.
//!
//! Guarantees: a job that was cancelled or deleted while it waited leaves no attempt, and is known by the operation
//! that did it; those over many jobs do not name each. Next: `job_changes.rs`.

use axum::{
    extract::{Path, State},
    response::Response,
};
use base::Timestamp;
use jobs::{
    JobId,
    bulk::JOB,
    engine::JobState,
    inspection::{self, JobHistory},
    job_store::{LogLine, Progress, RunReport, RunReports},
    records::AttemptRecord,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    job_changes::{JobChange, changes_of},
    job_list::{JobSummary, state_cell, subject_cell},
    operation_form::{Action, action_form},
};
use crate::{
    access::Role,
    answer::{Asked, View, Visitor, parsed},
    cells::{path, shown},
    error::ConsoleError,
    page::{Cell, Facts, Page, Text},
    state::{Console, ConsoleState},
    timeline::{TimelineEntry, timeline_table},
};

/// Longest payload and result on a page, in characters; the JSON has them whole.
const TEXT_CHARS_MAX: usize = 20_000;

/// Verb, button and role of an action on a job.
type JobAction = (&'static str, &'static str, Role);

const RETRY: JobAction = ("retry", "Run now", Role::Operator);
const CANCEL: JobAction = ("cancel", "Cancel", Role::Operator);
const REDRIVE: JobAction = ("redrive", "Redrive", Role::Operator);
const DELETE: JobAction = ("delete", "Delete", Role::Admin);

pub(super) async fn job(
    State(Console(console)): State<Console>,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Response, ConsoleError> {
    let (id, parts): (JobId, _) = (parsed(&id)?, &console.parts);
    let (engine, records, store) = (parts.engine.as_ref(), parts.records.as_ref(), parts.store.as_ref());
    let reports = Some(store as &dyn RunReports);
    let history = inspection::history(engine, records, reports, id).await?;
    let changes = changes_of(&console, id).await?;
    if history.is_unknown() && changes.is_empty() {
        let ready = if engine.capabilities().lists_ready { "" } else { ", or waits for its first attempt" };
        let why = format!("nothing is known of {id}: it was never here, has expired{ready}");
        return Err(ConsoleError::NotFound(why));
    }
    let run = present_run(&console, &history).await;
    let page = JobPage::new(console.now(), history, asked.visitor.sees_payloads);
    asked.answer(&JobPage { run, changes, ..page })
}

/// The run under way of a job, by its report, or else by the note of its process; `None` also while neither tells it.
async fn present_run(console: &ConsoleState, history: &JobHistory) -> Option<PresentRun> {
    let held = history.held.as_ref().filter(|held| held.state == JobState::Running)?;
    let attempt = held.envelope.attempt.saturating_add(1);
    let report = history.report.as_ref();
    if let Some(report) = report.filter(|report| report.ended_at.is_none() && report.attempt == attempt) {
        return Some(PresentRun { attempt, worker: report.worker.clone(), since: report.started_at });
    }
    // Without the figures the page shows all else.
    let figures = console.figures().await.ok()?;
    let notes = figures.consumers.iter().filter_map(|worker| worker.note.as_ref());
    let mut runs = notes.flat_map(|note| note.runs.iter().map(move |run| (note, run)));
    let (note, run) = runs.find(|(_, run)| run.job == history.id)?;
    Some(PresentRun { attempt, worker: note.worker.clone(), since: run.since })
}

#[derive(Serialize)]
struct PresentRun {
    attempt: u32,
    worker: String,
    /// Its start, or up to a second after it.
    since: Timestamp,
}

/// What a run has reported, without its result.
#[derive(Serialize)]
struct LastRun {
    attempt: u32,
    worker: String,
    started_at: Timestamp,
    reported_at: Timestamp,
    ended_at: Option<Timestamp>,
    progress: Option<Progress>,
    log: Vec<LogLine>,
    lines_dropped: u64,
}

#[derive(Serialize)]
struct JobPage {
    at: Timestamp,
    id: JobId,
    /// What the engine holds of it.
    held: Option<JobSummary>,
    attempts: Vec<AttemptRecord>,
    /// The run under way, as far as it is known.
    run: Option<PresentRun>,
    /// Operations on this job alone, newest first.
    changes: Vec<JobChange>,
    report: Option<LastRun>,
    /// Payload and result; `None` also where the visitor does not see them.
    payload: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
    /// Whether payload and result are left out for this visitor.
    is_redacted: bool,
}

impl JobPage {
    fn new(at: Timestamp, history: JobHistory, sees_payloads: bool) -> Self {
        let JobHistory { id, held, attempts, report } = history;
        let payload = held.as_ref().map(|held| held.envelope.payload.clone());
        let (report, result) = match report {
            Some(report) => {
                let RunReport { attempt, worker, started_at, reported_at, ended_at, progress, .. } = report;
                let (log, lines_dropped) = (report.log, report.lines_dropped);
                let run = LastRun {
                    attempt,
                    worker,
                    started_at,
                    reported_at,
                    ended_at,
                    progress,
                    log,
                    lines_dropped,
                };
                (Some(run), report.result)
            }
            None => (None, None),
        };
        Self {
            at,
            id,
            held: held.map(JobSummary::from),
            attempts,
            run: None,
            changes: Vec::new(),
            report,
            payload: payload.filter(|_| sees_payloads),
            result: result.filter(|_| sees_payloads),
            is_redacted: !sees_payloads,
        }
    }

    fn timeline(&self) -> Vec<TimelineEntry> {
        let mut entries: Vec<_> = self.attempts.iter().map(TimelineEntry::of_attempt).collect();
        for entry in &mut entries {
            // Its own page.
            entry.job = None;
        }
        let published = self.held.as_ref().map(|held| held.created_at);
        let published = published.or_else(|| self.attempts.first().map(|first| first.created_at));
        entries.extend(published.map(|at| TimelineEntry::new(at, "job", "published")));
        if let Some(held) = &self.held {
            if let Some(dead) = &held.dead {
                let text = format!("dead: {}", dead.reason.as_str());
                let entry = TimelineEntry::new(dead.died_at, "job", text);
                entries.push(TimelineEntry { is_well: Some(false), ..entry });
            }
            let due = held.run_at.filter(|_| held.state == JobState::Delayed);
            entries.extend(due.map(|at| TimelineEntry::new(at, "job", "due")));
            entries.extend(self.present(held));
        }
        entries.extend(self.changes.iter().map(JobChange::entry));
        if let Some(report) = &self.report {
            entries
                .extend(report.log.iter().map(|line| TimelineEntry::new(line.at, "log", line.text.as_str())));
        }
        entries
    }

    /// Its state now, of those that begin with no entry of their own.
    fn present(&self, held: &JobSummary) -> Option<TimelineEntry> {
        let now = |text: &str| TimelineEntry::new(self.at, "job", text);
        match (held.state, &self.run) {
            (JobState::Ready, _) => Some(now("now ready: waits for a worker")),
            (JobState::Running, None) => Some(now("now running")),
            (JobState::Running, Some(run)) => {
                let entry = TimelineEntry::new(run.since, "job", format!("running: attempt {}", run.attempt));
                Some(TimelineEntry { detail: format!("in {}", run.worker), ..entry })
            }
            (JobState::Delayed, _) if held.behind.is_some() => Some(now("now waits behind another job")),
            (JobState::Delayed | JobState::Dead, _) => None,
        }
    }

    /// Why the engine does not hold it, as far as it is known.
    fn absence(&self) -> String {
        let change = self.changes.first().map(JobChange::text);
        let last = self.attempts.last().map(|last| format!("last attempt: {}", last.outcome.as_str()));
        let known: Vec<String> =
            ["not held by the engine".to_owned()].into_iter().chain(last).chain(change).collect();
        known.join("; ")
    }

    fn facts(&self) -> Facts {
        let mut facts = Facts::new("The job");
        if let Some(held) = &self.held {
            facts.push("State", state_cell(held.state));
            facts.push("Kind", held.kind());
            facts.push("Queue", Cell::link(held.queue.as_str(), path("/queues", &held.queue)));
            facts.push("Priority", held.priority.as_str());
            facts.push("Attempts", format!("{} of {} used", held.attempt, held.max_attempts));
            facts.push("Crashes of its consumers", Cell::number(held.crashes));
            facts.push("Subject", subject_cell(held.subject.as_deref()));
            facts.push("Unique key", held.unique_key.as_deref());
            facts.push("Concurrency key", held.concurrency_key.as_deref());
            facts.push("Order key", held.order_key.as_deref());
            if let Some(head) = held.behind {
                facts.push("Waits for", Cell::link(head.to_string(), path("/jobs", &head.to_string())));
            }
            facts.push("Last error", held.last_error.as_deref());
            facts.push("Trace id", held.trace_id.as_deref());
        } else {
            facts.push("State", self.absence());
        }
        if let Some(last) = self.attempts.last().filter(|_| self.held.is_none()) {
            facts.push("Kind", last.kind.as_str());
            facts.push("Queue", Cell::link(last.queue.as_str(), path("/queues", &last.queue)));
            facts.push("Subject", subject_cell(last.subject.as_deref()));
            facts.push("Last error", last.error.as_deref());
            let trace = last.trace.as_ref().map(base::TraceContext::trace_id);
            facts.push("Trace id", trace.as_deref());
        }
        if let Some(report) = &self.report {
            let progress = report.progress.as_ref();
            let progress = progress.map(|progress| format!("{} % {}", progress.percent, progress.message));
            facts.push("Progress", progress.as_deref());
            facts.push("Run began", Cell::time(report.started_at, self.at));
            facts.push("Last report", Cell::time(report.reported_at, self.at));
            facts.push("By", format!("attempt {} in {}", report.attempt, report.worker));
        }
        facts
    }
}

impl View for JobPage {
    fn page(&self, visitor: &Visitor) -> Page {
        let mut page = Page::new(format!("Job {}", self.id));
        page.push(self.facts());
        page.push(timeline_table("Timeline", &self.timeline(), self.at));
        if self.is_redacted {
            page.note(
                "info",
                "Payload and result are shown to admins, where console.show_payloads allows it.",
            );
        }
        for (caption, json) in [("Payload", &self.payload), ("Result", &self.result)] {
            if let Some(json) = json {
                let text = shown(json.get(), TEXT_CHARS_MAX);
                page.push(Text { caption: caption.to_owned(), text });
            }
        }
        if let Some(held) = &self.held {
            actions(&mut page, held, visitor);
        }
        page
    }
}

/// Actions that fit the state of the job and the role of the visitor.
fn actions(page: &mut Page, job: &JobSummary, visitor: &Visitor) {
    let fitting: &[JobAction] = match job.state {
        JobState::Ready | JobState::Running => &[CANCEL],
        JobState::Delayed => &[RETRY, CANCEL],
        JobState::Dead => &[REDRIVE, DELETE],
    };
    for (verb, button, role) in fitting.iter().copied().filter(|(_, _, role)| visitor.may(*role)) {
        let action = Action { items: JOB, verb, button, is_dangerous: role == Role::Admin };
        page.push(action_form(&action, format!("{button} this job"), vec![("id", job.id.to_string())]));
    }
}
