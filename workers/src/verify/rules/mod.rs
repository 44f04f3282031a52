//! Rules that check an order against its facts: pure, one file per invariant.
//!
//! A finding that an outstanding job would resolve names that job, and counts only where the queues do not hold it.

mod expected_jobs;
mod flow;
mod history;
mod mails;
mod money;

use base::{Ambient, Timestamp};
use jobs::engine::EngineError;

use super::{facts::Facts, finding::Finding};

type Result<T, E = EngineError> = std::result::Result<T, E>;

struct Check<'a> {
    facts: &'a Facts,
    /// Changes after this are still in progress.
    before: Timestamp,
    ambient: &'a Ambient,
    findings: Vec<Finding>,
}

/// All suspected violations of an order. What one placed before `history_from` led to may have been dropped.
pub(super) fn order(
    facts: &Facts,
    before: Timestamp,
    history_from: Option<Timestamp>,
    ambient: &Ambient,
) -> Result<Vec<Finding>> {
    let mut check = Check { facts, before, ambient, findings: Vec::new() };
    check.flow()?;
    check.money()?;
    if history_from.is_none_or(|from| facts.order.created_at >= from) {
        check.mails()?;
        check.history()?;
    }
    Ok(check.findings)
}
