//! Limits of jobs in use: slots and starts taken over all workers, and jobs that wait for them.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use base::Timestamp;
use jobs::job_store::{LimitFilter, LimitInUse};
use serde::{Deserialize, Serialize};

use crate::{
    answer::{Asked, View, Visitor, parameters, set},
    cells::with_query,
    error::ConsoleError,
    page::{Cell, Page, Table},
    state::Console,
};

/// Keys of a page.
const PAGE: u32 = 100;

#[derive(Deserialize)]
pub(super) struct LimitQuery {
    name: Option<String>,
    after_limit: Option<String>,
    after_key: Option<String>,
}

pub(super) async fn limits(
    State(Console(console)): State<Console>,
    asked: Asked,
    query: Result<Query<LimitQuery>, QueryRejection>,
) -> Result<Response, ConsoleError> {
    let LimitQuery { name, after_limit, after_key } = parameters(query)?;
    let name = set(name.as_deref());
    let filter = LimitFilter { limit: name.clone(), after: after_limit.zip(after_key), most: PAGE };
    let data = console.parts.store.limits_in_use(&filter).await?;
    asked.answer(&LimitList { at: console.now(), data, name: name.unwrap_or_default() })
}

#[derive(Serialize)]
struct LimitList {
    at: Timestamp,
    data: Vec<LimitInUse>,
    #[serde(skip)]
    name: String,
}

impl View for LimitList {
    fn page(&self, _: &Visitor) -> Page {
        let mut page = Page::new("Limits");
        let mut table = Table::new(
            "limits",
            "Keys of limits in use",
            ["Limit", "Key", "Slots taken", "Workers", "Starts", "Parked jobs", "Oldest parked"],
        );
        "No limit is in use.".clone_into(&mut table.empty);
        for used in &self.data {
            table.push([
                Cell::link(used.limit.as_str(), with_query("/limits", &[("name", used.limit.as_str())])),
                used.key.as_str().into(),
                Cell::number(used.leased),
                Cell::number(used.holders),
                Cell::number(used.starts),
                Cell::marked(if used.parked > 0 { "warn" } else { "" }, Cell::count(used.parked)),
                Cell::optional_time(used.oldest_parked_at, self.at),
            ]);
        }
        if let Some(last) = self.data.last().filter(|_| self.data.len() >= PAGE as usize) {
            let after = [("name", &*self.name), ("after_limit", &*last.limit), ("after_key", &*last.key)];
            table.next = with_query("/limits", &after);
        }
        page.push(table);
        page
    }
}
