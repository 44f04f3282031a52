//! Operations: preview, confirmation, progress and cancellation of every change that the console makes.
//!
//! Guarantees: nothing is changed without a stored operation with who and why, and a second request that confirms it.
//! Small operations are carried out here, so that the page that follows shows what came of them; the rest by a
//! scheduler, which also takes over what a console that dies has begun.

use axum::{
    Form, Json,
    extract::{
        Path, Query, State,
        rejection::{FormRejection, QueryRejection},
    },
    response::{IntoResponse, Redirect, Response},
};
use base::Timestamp;
use http::StatusCode;
use jobs::bulk::{Operation, OperationId, OperationRunner, OperationState};
use serde::{Deserialize, Serialize};

use super::operation_form::{OperationForm, role_for};
use crate::{
    access::Role,
    answer::{Asked, Format, View, Visitor, parameters, parsed, set},
    cells::{path, with_query},
    error::ConsoleError,
    page::{self, Cell, Facts, Page, Table},
    state::{Console, ConsoleState},
};

/// Operations of a page.
const PAGE: usize = 50;
/// Most items of an operation that this process carries out while its page waits.
const HERE_MAX: u64 = 20;
/// Steps of such an operation before its page is shown as it is.
const STEPS_MAX: usize = 3;

/// Counts what matches and stores the operation; nothing else is changed.
pub(super) async fn preview(
    State(Console(console)): State<Console>,
    asked: Asked,
    form: Result<Form<OperationForm>, FormRejection>,
) -> Result<Response, ConsoleError> {
    // Told before what else is wrong with it.
    asked.visitor.require(Role::Operator)?;
    let Form(form) = form.map_err(|rejection| ConsoleError::Input(rejection.body_text()))?;
    let plan = form.plan(&asked.visitor.name)?;
    asked.visitor.require(role_for(&plan.verb))?;
    let operation = console.operations().preview(plan).await?;
    Ok(went_on(&asked, StatusCode::CREATED, operation))
}

pub(super) async fn confirm(
    State(Console(console)): State<Console>,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Response, ConsoleError> {
    asked.visitor.require(Role::Operator)?;
    let id: OperationId = parsed(&id)?;
    let found = console.operations().find(id).await?;
    asked.visitor.require(role_for(&found.plan.verb))?;
    let is_small = found.counts.is_exact && found.counts.matched <= HERE_MAX;
    let operation = if is_small {
        carry_out(&console, id).await?
    } else {
        console.operations().confirm(id, None).await?
    };
    tracing::info!(operation.id = %id, who = asked.visitor.name, "operation confirmed in the console");
    Ok(went_on(&asked, StatusCode::OK, operation))
}

pub(super) async fn cancel(
    State(Console(console)): State<Console>,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Response, ConsoleError> {
    asked.visitor.require(Role::Operator)?;
    let operation = console.operations().cancel(parsed(&id)?).await?;
    Ok(went_on(&asked, StatusCode::OK, operation))
}

/// Confirms an operation for this process and carries it out, as far as its rate allows at once.
async fn carry_out(console: &ConsoleState, id: OperationId) -> Result<Operation, ConsoleError> {
    let parts = &console.parts;
    let mut operation = console.operations().confirm(id, Some(&parts.name)).await?;
    let (store, items) = (parts.store.clone(), parts.items.clone());
    let mut runner = OperationRunner::new(store, items, parts.name.clone(), parts.ambient.clone());
    for _ in 0..STEPS_MAX {
        if operation.state.is_ended() {
            break;
        }
        Box::pin(runner.step(operation)).await?;
        operation = console.operations().find(id).await?;
    }
    Ok(operation)
}

/// A page goes on to that of the operation; a program gets the operation.
fn went_on(asked: &Asked, status: StatusCode, operation: Operation) -> Response {
    if asked.format == Format::Json {
        return (status, Json(operation)).into_response();
    }
    Redirect::to(&path("/operations", &operation.id.to_string())).into_response()
}

#[derive(Deserialize)]
pub(super) struct OperationQuery {
    pub(super) after: Option<String>,
    pub(super) who: Option<String>,
    pub(super) verb: Option<String>,
}

/// Operations that fit, newest first, and the id after which the next page begins.
pub(super) async fn page_of(
    console: &ConsoleState,
    query: &OperationQuery,
) -> Result<(Vec<Operation>, Option<OperationId>), ConsoleError> {
    let (who, verb) = (set(query.who.as_deref()), set(query.verb.as_deref()));
    let after: Option<OperationId> = match set(query.after.as_deref()) {
        Some(after) => Some(parsed(&after)?),
        None => None,
    };
    let mut operations = console.operations().list().await?;
    operations.retain(|operation| {
        after.is_none_or(|after| operation.id < after)
            && who.as_ref().is_none_or(|who| operation.plan.who == *who)
            && verb.as_ref().is_none_or(|verb| operation.plan.verb.name() == verb)
    });
    let has_more = operations.len() > PAGE;
    operations.truncate(PAGE);
    let next = operations.last().map(|last| last.id).filter(|_| has_more);
    Ok((operations, next))
}

pub(super) async fn operations(
    State(Console(console)): State<Console>,
    asked: Asked,
    query: Result<Query<OperationQuery>, QueryRejection>,
) -> Result<Response, ConsoleError> {
    let (data, next) = page_of(&console, &parameters(query)?).await?;
    asked.answer(&OperationList { at: console.now(), data, next })
}

#[derive(Serialize)]
struct OperationList {
    at: Timestamp,
    data: Vec<Operation>,
    next: Option<OperationId>,
}

impl View for OperationList {
    fn page(&self, _: &Visitor) -> Page {
        let mut page = Page::new("Operations");
        let mut table = Table::new(
            "operations",
            "Changes that were previewed, newest first",
            ["Operation", "State", "Does", "To", "Matched", "Done", "Skipped", "Failed", "Previewed", "By"],
        );
        for operation in &self.data {
            let (plan, counts) = (&operation.plan, operation.counts);
            let id = operation.id.to_string();
            table.push([
                Cell::link(id.as_str(), path("/operations", &id)),
                state(operation),
                plan.verb.name().into(),
                format!("{} {}", plan.items, plan.filter).into(),
                matched(operation),
                Cell::number(counts.done),
                Cell::number(counts.skipped),
                Cell::number(counts.failed),
                Cell::time(operation.created_at, self.at),
                plan.who.as_str().into(),
            ]);
        }
        if let Some(next) = self.next {
            table.next = with_query("/operations", &[("after", next.to_string().as_str())]);
        }
        page.push(table);
        page
    }
}

pub(super) fn matched(operation: &Operation) -> Cell {
    let counts = operation.counts;
    Cell::number(format!("{}{}", counts.matched, if counts.is_exact { "" } else { "+" }))
}

pub(super) fn state(operation: &Operation) -> Cell {
    match operation.state {
        OperationState::Previewed => Cell::marked("warn", "previewed, waits for its confirmation"),
        OperationState::Running if operation.is_cancelling => Cell::marked("warn", "cancelling"),
        OperationState::Failed => Cell::marked("bad", "failed"),
        OperationState::Done if operation.counts.failed > 0 => Cell::marked("bad", "done, with failures"),
        OperationState::Done => Cell::marked("good", "done"),
        state => state.as_str().into(),
    }
}

pub(super) async fn operation(
    State(Console(console)): State<Console>,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Response, ConsoleError> {
    let operation = console.operations().find(parsed(&id)?).await?;
    asked.answer(&OperationPage { at: console.now(), operation })
}

#[derive(Serialize)]
struct OperationPage {
    at: Timestamp,
    #[serde(flatten)]
    operation: Operation,
}

impl View for OperationPage {
    fn page(&self, visitor: &Visitor) -> Page {
        let operation = &self.operation;
        let (plan, id) = (&operation.plan, operation.id.to_string());
        let mut page = Page::new(format!("Operation {id}"));
        if operation.state == OperationState::Previewed {
            page.note(
                "warn",
                "Nothing is changed yet: read what this does, then carry it out or discard it.",
            );
        }
        for limit in &operation.limits {
            page.note("warn", limit.as_str());
        }
        page.push(self.facts());
        let mut sample = Table::new("items", "Some of the items", ["Item", "What it is"]);
        for item in &operation.sample {
            sample.push([item.id.as_str().into(), item.text.as_str().into()]);
        }
        page.push(sample);
        let address = path("/operations", &id);
        let simple = |legend: &str, verb: &str, button: &str, is_dangerous| page::Form {
            legend: legend.to_owned(),
            method: "post",
            action: format!("{address}/{verb}"),
            hidden: Vec::new(),
            fields: Vec::new(),
            button: button.to_owned(),
            is_dangerous,
        };
        let role = role_for(&plan.verb);
        match operation.state {
            OperationState::Previewed if visitor.may(role) => {
                let legend = format!("{} {} of {}", plan.verb.name(), operation.counts.matched, plan.items);
                page.push(simple(&legend, "confirm", "Carry it out", role == Role::Admin));
                page.push(simple("Leave everything as it is", "cancel", "Discard", false));
            }
            OperationState::Running if visitor.may(Role::Operator) => {
                page.push(simple("End it with the items in hand", "cancel", "Cancel", false));
            }
            _ => {}
        }
        page
    }
}

impl OperationPage {
    fn facts(&self) -> Facts {
        let (operation, now) = (&self.operation, self.at);
        let (plan, counts) = (&operation.plan, operation.counts);
        let mut facts = Facts::new("What it does");
        facts.push("State", state(operation));
        facts.push("Effect", format!("{}: each {}", plan.verb.name(), operation.effect));
        facts.push("Items", format!("{}, {}", plan.items, plan.filter));
        facts.push("Matched", matched(operation));
        let processed = format!("{} done, {} skipped, {} failed", counts.done, counts.skipped, counts.failed);
        facts.push("Progress", processed);
        facts.push("Rate", format!("{} a second at most", plan.rate));
        facts.push("Asked by", plan.who.as_str());
        facts.push("Why", plan.why.as_str());
        facts.push("Previewed", Cell::time(operation.created_at, now));
        facts.push("Began", Cell::optional_time(operation.began_at, now));
        facts.push("Ended", Cell::optional_time(operation.ended_at, now));
        facts.push("Carried out by", operation.holder());
        facts.push("Last error", operation.last_error.as_deref());
        facts
    }
}
