//! Conditions and order of a page of jobs by id, all of them or those of a queue, of a kind, or of both.
//!
//! Guarantees: each of the four is read in the order of one index, from the end of the page before, so that a page
//! costs the same whatever else is stored. Rows are compared instead of values, and the equal columns stand in the
//! order, because the planner takes queues and kinds for independent: by equalities it may read all jobs by id and pass
//! over those that do not match, which are all of them where a queue does not have the kind.

use base::ids::Uuid;
use sqlx::{Postgres, QueryBuilder};

use crate::{engine::JobFilter, envelope::JobId, postgres::text};

/// Adds the conditions of queue, kind and place; returns the order of the page, for the end of the statement, where the
/// limit follows.
pub(super) fn push_page(
    query: &mut QueryBuilder<Postgres>,
    filter: &JobFilter,
    after: Option<JobId>,
) -> &'static str {
    let after = after.map_or(Uuid::nil(), |id| id.0);
    let storable = |value: &str| text(value).into_owned();
    let (column, order, value) = match (&filter.queue, &filter.kind) {
        (None, None) => {
            query.push("id > ").push_bind(after);
            return " ORDER BY id LIMIT ";
        }
        (Some(queue), None) => ("queue", " ORDER BY queue, id LIMIT ", storable(queue)),
        (queue, Some(kind)) => {
            if let Some(queue) = queue {
                query.push("queue = ").push_bind(storable(queue)).push(" AND ");
            }
            ("kind", " ORDER BY kind, id LIMIT ", storable(kind))
        }
    };
    query.push("(").push(column).push(", id) > (").push_bind(value.clone()).push(", ").push_bind(after);
    query.push(") AND ").push(column).push(" <= ").push_bind(value);
    order
}
