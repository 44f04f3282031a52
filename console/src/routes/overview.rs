//! The overview: all queues, those in trouble first, and what else needs a person.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde::Serialize;

use super::queues::queue_table;
use crate::{
    answer::{Asked, View, Visitor},
    cells::count,
    error::ConsoleError,
    figures::{Figures, QueueFigures, processes},
    history::SamplesByQueue,
    page::{Cell, Facts, Page},
    state::Console,
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
        let mut facts = Facts::new("Around the queues");
        facts.push("Worker processes", Cell::link(figures.workers.to_string(), "/workers"));
        facts.push("Messages in the outbox", Cell::count(figures.outbox.messages));
        facts.push("Oldest of them", Cell::optional_time(figures.outbox.oldest_at, figures.at));
        facts.push("Messages set aside", Cell::count(figures.outbox.set_aside));
        facts.push("Jobs of any queue in short delays", Cell::count(figures.short_delays));
        facts.push("Queue engine", figures.engine);
        facts.push("As of", Cell::time(figures.at, figures.at));
        page.push(facts);
        page
    }
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
    if figures.outbox.set_aside > 0 {
        let number = count(figures.outbox.set_aside);
        page.note("bad", format!("{number} messages of the outbox cannot be read by the relay."));
    }
}
