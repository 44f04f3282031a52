//! Worker processes: their queues, slots, last sign of life, trouble, and the jobs that they run.

use axum::{extract::State, response::Response};
use base::Timestamp;
use jobs::{inspection::WorkerStatus, job_store::WorkerNote};
use serde::Serialize;

use crate::{
    answer::{Asked, View, Visitor},
    cells::path,
    error::ConsoleError,
    page::{Cell, Page, Table},
    state::Console,
};

/// Running jobs of a page.
const RUNS_SHOWN_MAX: usize = 100;

pub(super) async fn workers(
    State(Console(console)): State<Console>,
    asked: Asked,
) -> Result<Response, ConsoleError> {
    let figures = console.figures().await?;
    let (data, lost) = (figures.consumers.clone(), figures.lost.clone());
    asked.answer(&WorkerList { at: figures.at, data, lost })
}

#[derive(Serialize)]
struct WorkerList {
    at: Timestamp,
    data: Vec<WorkerStatus>,
    /// The last notes of processes that ended without stopping in order.
    lost: Vec<WorkerNote>,
}

impl View for WorkerList {
    fn page(&self, _: &Visitor) -> Page {
        let mut page = Page::new("Workers");
        page.push(worker_table("Processes and the queues they consume", &self.data, self.at));
        page.push(lost_table(&self.lost, self.at));
        page.push(running_table("Running jobs, the longest first", &self.data, self.at));
        page
    }
}

pub(super) fn worker_table(caption: &str, workers: &[WorkerStatus], now: Timestamp) -> Table {
    let mut table = Table::new(
        "workers",
        caption,
        [
            "Worker",
            "Queue",
            "Release",
            "Started",
            "Slots used",
            "Slots",
            "Jobs held",
            "Seen",
            "Last contact",
            "Lease",
            "Trouble",
        ],
    );
    "No worker: start one with `orderworks worker`.".clone_into(&mut table.empty);
    for worker in workers {
        let note = worker.note.as_ref();
        let text = |tell: fn(&WorkerNote) -> String| note.map_or_else(|| "-".to_owned(), tell);
        let time = |at: fn(&WorkerNote) -> Option<Timestamp>| Cell::optional_time(note.and_then(at), now);
        table.push([
            note.map_or(worker.name.as_str(), |note| note.worker.as_str()).into(),
            Cell::link(worker.queue.as_str(), path("/queues", &worker.queue)),
            text(|note| note.release.clone()).into(),
            time(|note| Some(note.started_at)),
            Cell::number(text(|note| note.used.to_string())),
            Cell::number(text(slots)),
            Cell::number(worker.jobs),
            time(|note| Some(note.noted_at)),
            time(|note| note.contact_at),
            lease(worker, now),
            trouble(note),
        ]);
    }
    table
}

/// Processes that were killed, or lost the job store: what they last told of themselves.
fn lost_table(lost: &[WorkerNote], now: Timestamp) -> Table {
    let caption = "Lost within an hour: no sign of life, and not stopped in order";
    let headings = ["Worker", "Queue", "Release", "Started", "Last seen", "Ran then"];
    let mut table = Table::new("lost", caption, headings);
    "None.".clone_into(&mut table.empty);
    for note in lost {
        table.push([
            note.worker.as_str().into(),
            Cell::link(note.queue.as_str(), path("/queues", &note.queue)),
            note.release.as_str().into(),
            Cell::time(note.started_at, now),
            Cell::marked("bad", Cell::time(note.noted_at, now)),
            Cell::number(note.used),
        ]);
    }
    table
}

/// Jobs that these processes have noted as running, those that run longest.
pub(super) fn running_table(caption: &str, workers: &[WorkerStatus], now: Timestamp) -> Table {
    let notes = workers.iter().filter_map(|worker| worker.note.as_ref());
    let mut runs: Vec<_> = notes.flat_map(|note| note.runs.iter().map(move |run| (run, note))).collect();
    runs.sort_by_key(|(run, _)| run.since);
    runs.truncate(RUNS_SHOWN_MAX);
    let mut table = Table::new("running", caption, ["Job", "Queue", "Worker", "Running since"]);
    "None has run for a second or longer.".clone_into(&mut table.empty);
    for (run, note) in runs {
        let id = run.job.to_string();
        table.push([
            Cell::link(id.as_str(), path("/jobs", &id)),
            Cell::link(note.queue.as_str(), path("/queues", &note.queue)),
            note.worker.as_str().into(),
            Cell::time(run.since, now),
        ]);
    }
    table
}

/// Slots, and those of the configuration where an operator has set others.
fn slots(note: &WorkerNote) -> String {
    let WorkerNote { slots, configured, .. } = note;
    if slots == configured { slots.to_string() } else { format!("{slots} (configured {configured})") }
}

fn lease(worker: &WorkerStatus, now: Timestamp) -> Cell {
    match worker.alive_until {
        None => "no consumer".into(),
        Some(until) if until < now => Cell::marked("bad", "run out"),
        Some(until) => Cell::marked("good", Cell::time(until, now)),
    }
}

fn trouble(note: Option<&WorkerNote>) -> Cell {
    match note.and_then(|note| note.trouble.as_deref()) {
        Some(trouble) => Cell::marked("bad", trouble),
        None => "-".into(),
    }
}
