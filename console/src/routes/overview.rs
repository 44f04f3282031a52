//! The overview: all queues, those in trouble first, what ran last, and what else needs a person.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use base::Timestamp;
use jobs::records::AttemptRecord;
use serde::Serialize;
use store::outbox::Backlog;

use super::{job_list::subject_cell, queues::queue_table};
use crate::{
    answer::{Asked, View, Visitor},
    cells::{count, path, span},
    error::ConsoleError,
    figures::{Figures, QueueFigures, processes},
    history::SamplesByQueue,
    page::{Cell, Facts, Page, Table},
    state::Console,
    timeline::outcome_cell,
};

pub(crate) async fn overview(
    State(Console(console)): State<Console>,
    asked: Asked,
) -> Result<Response, ConsoleError> {
    asked.answer(&Overview { figures: console.figures().await?, samples: console.history.all() })
}

struct Overview {
    figures: Arc<Figures>,
    samples: SamplesByQueue,
}

impl Serialize for Overview {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Figures::serialize(&self.figures, serializer)
    }
}

impl View for Overview {
    fn page(&self, _: &Visitor) -> Page {
        let figures = &*self.figures;
        let mut page = Page::new("Overview");
        trouble(&mut page, figures);
        page.push(queue_table("Queues", &figures.queues, &self.samples, figures.at));
        page.push(latest_table(&figures.latest, figures.at));
        let mut facts = Facts::new("Around the queues");
        facts.push("Worker processes", Cell::link(figures.workers.to_string(), "/workers"));
        if let Some(outbox) = &figures.outbox {
            facts.push("Messages in the outbox", Cell::count(outbox.messages));
            facts.push("Oldest of them", Cell::optional_time(outbox.oldest_at, figures.at));
            facts.push("Messages set aside", Cell::count(outbox.set_aside));
        } else {
            facts.push("Messages in the outbox", "not known");
        }
        facts.push("Jobs of any queue in short delays", Cell::count(figures.short_delays));
        facts.push("Queue engine", figures.engine);
        facts.push("As of", Cell::time(figures.at, figures.at));
        page.push(facts);
        page
    }
}

/// Attempts with links to their jobs and orders: what has just been ordered is among them.
fn latest_table(latest: &[AttemptRecord], now: Timestamp) -> Table {
    let mut table = Table::new(
        "latest",
        "Latest attempts of jobs, newest first",
        ["Started", "Job", "Queue", "Attempt", "Outcome", "Took", "Subject", "Error"],
    );
    "None is recorded: no job has run yet, or `records.level` leaves it out.".clone_into(&mut table.empty);
    for record in latest {
        table.push([
            Cell::age(record.started_at, now),
            Cell::link(record.kind.as_str(), path("/jobs", &record.job.to_string())),
            Cell::link(record.queue.as_str(), path("/queues", &record.queue)),
            Cell::number(record.attempt),
            outcome_cell(record.outcome),
            Cell::number(span(record.duration)),
            subject_cell(record.subject.as_deref()),
            record.error.as_deref().into(),
        ]);
    }
    table
}

fn trouble(page: &mut Page, figures: &Figures) {
    let names = |is: fn(&QueueFigures) -> bool| {
        let names: Vec<&str> =
            figures.queues.iter().filter(|queue| is(queue)).map(QueueFigures::name).collect();
        names.join(", ")
    };
    let (stuck, paused) = (names(QueueFigures::is_stuck), names(|queue| queue.status.depth.paused));
    if !stuck.is_empty() {
        page.note("bad", format!("Nobody consumes: {stuck}."));
    }
    if !paused.is_empty() {
        page.note("warn", format!("Paused: {paused}."));
    }
    if !figures.lost.is_empty() {
        let number = processes(&figures.lost);
        page.note("warn", format!("Worker processes lost within an hour: {number}; see Workers."));
    }
    match &figures.outbox {
        None => page.note("bad", "The order store does not answer: outbox and orders cannot be shown."),
        Some(Backlog { set_aside: 0, .. }) => {}
        Some(outbox) => {
            let number = count(outbox.set_aside);
            page.note("bad", format!("{number} messages of the outbox cannot be read by the relay."));
        }
    }
}
