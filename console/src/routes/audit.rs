//! The audit log: who changed what, why, and what came of it. Its rows are the operations, which are kept for
//! [`jobs::bulk::KEEP`]; those that were discarded are among them.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use base::Timestamp;
use jobs::bulk::{Operation, OperationId};
use serde::Serialize;

use super::operations::{OperationQuery, page_of, state};
use crate::{
    answer::{Asked, View, Visitor, parameters, set},
    cells::{path, with_query},
    error::ConsoleError,
    page::{Cell, Page, Table},
    state::Console,
};

pub(super) async fn audit(
    State(Console(console)): State<Console>,
    asked: Asked,
    query: Result<Query<OperationQuery>, QueryRejection>,
) -> Result<Response, ConsoleError> {
    let query = parameters(query)?;
    let (data, next) = page_of(&console, &query).await?;
    let [who, verb] = [&query.who, &query.verb].map(|text| set(text.as_deref()).unwrap_or_default());
    asked.answer(&AuditLog { at: console.now(), data, next, who, verb })
}

#[derive(Serialize)]
struct AuditLog {
    at: Timestamp,
    data: Vec<Operation>,
    next: Option<OperationId>,
    #[serde(skip)]
    who: String,
    #[serde(skip)]
    verb: String,
}

impl View for AuditLog {
    fn page(&self, _: &Visitor) -> Page {
        let mut page = Page::new("Audit log");
        if !self.who.is_empty() || !self.verb.is_empty() {
            page.note("info", format!("Only: {} {}", self.who, self.verb));
        }
        let mut table = Table::new(
            "audit",
            "Who changed what, newest first; kept for 90 days",
            ["Time", "Who", "Did", "To", "Why", "Outcome", "Done", "Failed", "Operation"],
        );
        for operation in &self.data {
            let (plan, counts) = (&operation.plan, operation.counts);
            let id = operation.id.to_string();
            let only = |name: &str, value: &str| with_query("/audit", &[(name, value)]);
            table.push([
                Cell::time(operation.began_at.unwrap_or(operation.created_at), self.at),
                Cell::link(plan.who.as_str(), only("who", &plan.who)),
                Cell::link(plan.verb.name(), only("verb", plan.verb.name())),
                format!("{} {}", plan.items, plan.filter).into(),
                plan.why.as_str().into(),
                state(operation),
                Cell::number(counts.done),
                Cell::number(counts.failed),
                Cell::link(id.as_str(), path("/operations", &id)),
            ]);
        }
        if let Some(next) = self.next {
            let after = next.to_string();
            table.next = with_query(
                "/audit",
                &[("who", self.who.as_str()), ("verb", self.verb.as_str()), ("after", after.as_str())],
            );
        }
        page.push(table);
        page
    }
}
