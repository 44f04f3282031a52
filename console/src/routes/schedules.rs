//! Schedules: their times, last runs and next five runs; run now, pause and resume.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use base::Timestamp;
use jobs::{bulk::SCHEDULES, schedule::ScheduleInfo};
use serde::{Deserialize, Serialize};

use super::operation_form::{Action, action_form};
use crate::{
    access::Role,
    answer::{Asked, View, Visitor, parameters, set},
    cells::{path, with_query},
    error::ConsoleError,
    page::{Cell, Facts, Page, Table},
    state::Console,
};

#[derive(Deserialize)]
pub(super) struct ScheduleQuery {
    name: Option<String>,
}

pub(super) async fn schedules(
    State(Console(console)): State<Console>,
    asked: Asked,
    query: Result<Query<ScheduleQuery>, QueryRejection>,
) -> Result<Response, ConsoleError> {
    let only = set(parameters(query)?.name.as_deref());
    let mut data = console.schedules().list().await?;
    if let Some(only) = &only {
        data.retain(|schedule| schedule.name == *only);
        if data.is_empty() {
            return Err(ConsoleError::NotFound(format!("there is no schedule `{only}`")));
        }
    }
    asked.answer(&ScheduleList { at: console.now(), data, is_one: only.is_some() })
}

#[derive(Serialize)]
struct ScheduleList {
    at: Timestamp,
    data: Vec<ScheduleInfo>,
    #[serde(skip)]
    is_one: bool,
}

impl View for ScheduleList {
    fn page(&self, visitor: &Visitor) -> Page {
        let mut page = Page::new("Schedules");
        let mut table = Table::new(
            "schedules",
            "Schedules, with their next runs",
            ["Schedule", "Times", "State", "Kind", "Queue", "Last run", "Outcome", "Next run", "After that"],
        );
        "No schedule is stored: a scheduler stores its own when it begins to lead."
            .clone_into(&mut table.empty);
        for schedule in &self.data {
            table.push(self.cells(schedule));
        }
        page.push(table);
        if let [schedule] = self.data.as_slice()
            && self.is_one
        {
            page.title = format!("Schedule {}", schedule.name);
            page.push(self.facts(schedule));
            if visitor.may(Role::Operator) {
                actions(&mut page, schedule);
            }
        }
        page
    }
}

impl ScheduleList {
    fn cells(&self, schedule: &ScheduleInfo) -> [Cell; 9] {
        let (now, job) = (self.at, schedule.definition.as_ref());
        let name = schedule.name.as_str();
        let outcome = schedule.last_attempt.as_ref().map(|last| last.outcome.as_str());
        let last = Cell::optional_time(schedule.last_fire_at, now);
        let run = schedule.last_job.map(|job| path("/jobs", &job.to_string())).unwrap_or_default();
        let later: Vec<String> = schedule.next.iter().skip(1).map(ToString::to_string).collect();
        [
            Cell::link(name, with_query("/schedules", &[("name", name)])),
            schedule.timing.as_str().into(),
            state(schedule),
            job.map(|job| job.kind.as_str()).into(),
            job.map(|job| job.queue.as_str()).into(),
            Cell::link(last, run),
            outcome.into(),
            Cell::optional_time(schedule.next.first().copied(), now),
            later.join(" ").into(),
        ]
    }

    fn facts(&self, schedule: &ScheduleInfo) -> Facts {
        let mut facts = Facts::new("Runs");
        facts.push("State", state(schedule));
        facts.push("Error", schedule.error.as_deref());
        let last = schedule.last_attempt.as_ref();
        facts.push("Last error", last.and_then(|last| last.error.as_deref()));
        for (place, at) in schedule.next.iter().enumerate() {
            facts.push(format!("Next run {}", place + 1), Cell::time(*at, self.at));
        }
        facts
    }
}

fn state(schedule: &ScheduleInfo) -> Cell {
    let class = match schedule.state() {
        "active" => "good",
        "paused" => "warn",
        _ => "bad",
    };
    Cell::marked(class, schedule.state())
}

fn actions(page: &mut Page, schedule: &ScheduleInfo) {
    let pause = if schedule.paused { ("resume", "Resume") } else { ("pause", "Pause") };
    for (verb, button) in [("run", "Run now"), pause] {
        let action = Action { items: SCHEDULES, verb, button, is_dangerous: false };
        let legend = format!("{button}: {}", schedule.name);
        page.push(action_form(&action, legend, vec![("id", schedule.name.clone())]));
    }
}
