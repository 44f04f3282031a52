//! Addresses of the console. Paths are fixed: operators save them, and programs read the JSON of the same ones below
//! `/api/v1`.

mod audit;
mod dead;
mod entrance;
mod job;
mod job_changes;
mod job_list;
mod limits;
mod operation_form;
mod operations;
mod order_timeline;
mod orders;
mod overview;
mod queues;
mod schedules;
mod workers;

use axum::{
    Router,
    routing::{get, post},
};

pub(crate) use self::{entrance::entrance, overview::overview};
use crate::state::Console;

/// Views, each as a page, as CSV where it is a list, and as JSON.
pub(crate) fn views() -> Router<Console> {
    Router::new()
        .route("/queues", get(queues::queues))
        .route("/queues/{name}", get(queues::queue))
        .route("/jobs", get(job_list::jobs))
        .route("/jobs/{id}", get(job::job))
        .route("/dead", get(dead::dead))
        .route("/orders/{id}", get(orders::order))
        .route("/workers", get(workers::workers))
        .route("/schedules", get(schedules::schedules))
        .route("/limits", get(limits::limits))
        .route("/operations", get(operations::operations).post(operations::preview))
        .route("/operations/{id}", get(operations::operation))
        .route("/operations/{id}/confirm", post(operations::confirm))
        .route("/operations/{id}/cancel", post(operations::cancel))
        .route("/audit", get(audit::audit))
}
