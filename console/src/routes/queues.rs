//! Queues: what they hold, who works on them, and the actions on one of them.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    response::Response,
};
use base::Timestamp;
use jobs::{bulk::QUEUES, inspection::WorkerStatus};
use serde::Serialize;

use super::{
    operation_form::{Action, action_form},
    workers::{running_table, worker_table},
};
use crate::{
    access::Role,
    answer::{Asked, View, Visitor},
    cells::{path, span, with_query},
    error::ConsoleError,
    figures::QueueFigures,
    history::{QueueSample, SamplesByQueue},
    page::{Cell, Facts, Page, Table},
    sparkline::{OLDEST_AGE, RATE, READY, WAIT, chart},
    state::Console,
};

/// Waits from this number of milliseconds on are shown in their largest unit.
const WAIT_IN_MS_MAX: u64 = 10_000;

pub(super) async fn queues(
    State(Console(console)): State<Console>,
    asked: Asked,
) -> Result<Response, ConsoleError> {
    let figures = console.figures().await?;
    let samples = console.history.all();
    asked.answer(&QueueList { at: figures.at, data: figures.queues.clone(), samples })
}

#[derive(Serialize)]
struct QueueList {
    at: Timestamp,
    data: Vec<QueueFigures>,
    #[serde(skip)]
    samples: SamplesByQueue,
}

impl View for QueueList {
    fn page(&self, _: &Visitor) -> Page {
        let mut page = Page::new("Queues");
        page.push(queue_table("All queues", &self.data, &self.samples, self.at));
        page
    }
}

/// Queues with their figures and the last hour.
pub(super) fn queue_table(
    caption: &str,
    queues: &[QueueFigures],
    samples: &SamplesByQueue,
    now: Timestamp,
) -> Table {
    let mut table = Table::new(
        "queues",
        caption,
        [
            "Queue",
            "State",
            "Ready",
            "Running",
            "Delayed",
            "Dead",
            "Oldest ready",
            "Consumers / desired",
            "Slots",
            "Completed / failed per min",
            "Wait p95",
            "Ready, last hour",
        ],
    );
    table.exported = vec!["Consumers", "Desired workers", "Completed/min", "Failed/min"];
    "No queue is declared: no worker has started yet.".clone_into(&mut table.empty);
    for queue in queues {
        let (depth, name) = (&queue.status.depth, queue.name());
        let jobs = |state: &str, number: u64| {
            Cell::link(Cell::count(number), with_query("/jobs", &[("queue", name), ("state", state)]))
        };
        let shown = [
            Cell::link(name, path("/queues", name)),
            state(queue),
            jobs("ready", depth.ready),
            jobs("running", depth.running),
            jobs("delayed", depth.delayed),
            jobs("dead", depth.dead),
            depth.oldest_ready_at.map_or_else(Cell::unknown, |since| Cell::age(since, now)),
            consumers(queue),
            Cell::number(queue.status.slots),
            rates(queue),
            wait(queue),
            chart(&READY, samples.get(name).map(Vec::as_slice).unwrap_or_default(), now),
        ];
        let apart = [
            Cell::number(queue.status.consumers),
            queue.desired_workers.map_or_else(Cell::unknown, Cell::number),
            rate(queue.completed_per_minute),
            rate(queue.failed_per_minute),
        ];
        table.push_with(shown, apart);
    }
    table
}

/// Consumers and, behind a stroke, the workers that the queue needs, marked where fewer consume it.
fn consumers(queue: &QueueFigures) -> Cell {
    let running = queue.status.consumers;
    let Some(desired) = queue.desired_workers else { return Cell::number(running) };
    let both = Cell::number(format!("{running} / {desired}"));
    if lacks_workers(queue) { Cell { class: "number warn", ..both } } else { both }
}

/// Attempts that completed and, behind a stroke, that ended in another way.
fn rates(queue: &QueueFigures) -> Cell {
    match (queue.completed_per_minute, queue.failed_per_minute) {
        (Some(completed), Some(failed)) => Cell::number(format!("{completed:.1} / {failed:.1}")),
        _ => Cell::unknown(),
    }
}

fn rate(per_minute: Option<f64>) -> Cell {
    per_minute.map_or_else(Cell::unknown, |rate| Cell::number(format!("{rate:.1}")))
}

fn wait(queue: &QueueFigures) -> Cell {
    let Some(wait) = queue.wait_p95_ms else { return Cell::unknown() };
    let exact = format!("{wait} ms");
    if wait < WAIT_IN_MS_MAX {
        return Cell::number(exact);
    }
    Cell { raw: exact, ..Cell::number(span(Duration::from_millis(wait))) }
}

/// Workers that the queue needs, marked where fewer consume it.
fn desired(queue: &QueueFigures) -> Cell {
    let Some(desired) = queue.desired_workers else { return Cell::unknown() };
    if lacks_workers(queue) {
        Cell::marked("warn", format!("{desired}, {} running", queue.status.consumers))
    } else {
        Cell::number(desired)
    }
}

fn lacks_workers(queue: &QueueFigures) -> bool {
    let desired = queue.desired_workers.and_then(|desired| usize::try_from(desired).ok());
    desired.is_some_and(|desired| desired > queue.status.consumers)
}

fn state(queue: &QueueFigures) -> Cell {
    match (queue.is_stuck(), queue.status.depth.paused) {
        (true, true) => Cell::marked("bad", "paused, nobody consumes"),
        (true, false) => Cell::marked("bad", "nobody consumes"),
        (false, true) => Cell::marked("warn", "paused"),
        (false, false) => Cell::marked("good", "consumed"),
    }
}

pub(super) async fn queue(
    State(Console(console)): State<Console>,
    asked: Asked,
    Path(name): Path<String>,
) -> Result<Response, ConsoleError> {
    let Some((figures, queue)) = console.figures_of(&name).await? else {
        return Err(ConsoleError::NotFound(format!("there is no queue `{name}`")));
    };
    let its = figures.consumers.iter().filter(|worker| worker.queue == name);
    let (workers, history) = (its.cloned().collect(), console.history.of(&name));
    asked.answer(&QueuePage { at: figures.at, queue, workers, history })
}

#[derive(Serialize)]
struct QueuePage {
    at: Timestamp,
    #[serde(flatten)]
    queue: QueueFigures,
    workers: Vec<WorkerStatus>,
    history: Vec<QueueSample>,
}

impl View for QueuePage {
    fn page(&self, visitor: &Visitor) -> Page {
        let (depth, name) = (&self.queue.status.depth, self.queue.name());
        let mut page = Page::new(format!("Queue {name}"));
        if self.queue.is_stuck() {
            page.note("bad", "Nobody consumes this queue: its jobs wait until a worker of it starts.");
        }
        page.push(worker_table(&format!("Workers of {name}"), &self.workers, self.at));
        let mut facts = Facts::new("Jobs");
        facts.push("State", state(&self.queue));
        for (state, number) in [
            ("ready", depth.ready),
            ("running", depth.running),
            ("delayed", depth.delayed),
            ("dead", depth.dead),
        ] {
            let href = with_query("/jobs", &[("queue", name), ("state", state)]);
            facts.push(state, Cell::link(Cell::count(number), href));
        }
        facts.push("Oldest ready", Cell::optional_time(depth.oldest_ready_at, self.at));
        facts.push("Desired workers", desired(&self.queue));
        facts.push("Completed/min", rate(self.queue.completed_per_minute));
        facts.push("Failed/min", rate(self.queue.failed_per_minute));
        facts.push("Wait p95", wait(&self.queue));
        facts.push("Dead by reason", Cell::link("dead letters", with_query("/dead", &[("queue", name)])));
        page.push(facts);
        page.push(last_hour(&self.history, self.at));
        let running = format!("Running jobs of {name}, the longest first");
        page.push(running_table(&running, &self.workers, self.at));
        let verb = if depth.paused { ("resume", "Resume") } else { ("pause", "Pause") };
        for (role, (verb, button), is_dangerous) in
            [(Role::Operator, verb, false), (Role::Admin, ("purge", "Purge"), true)]
        {
            let action = Action { items: QUEUES, verb, button, is_dangerous };
            if visitor.may(role) {
                page.push(action_form(&action, format!("{button} {name}"), vec![("id", name.to_owned())]));
            }
        }
        page
    }
}

fn last_hour(history: &[QueueSample], now: Timestamp) -> Table {
    let mut table = Table::new("last-hour", "Last hour", ["What", "Course"]);
    for series in [&READY, &OLDEST_AGE, &RATE, &WAIT] {
        table.push([series.name.into(), chart(series, history, now)]);
    }
    table
}
