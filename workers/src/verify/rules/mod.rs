//! Rules that check an order against its facts: pure, one file per invariant.
//!
//! A finding that an outstanding job would resolve names that job, and counts only where the queues do not hold it.

mod expected_jobs;
mod flow;
mod history;
mod mails;
mod money;

use jobs::engine::EngineError;

use super::{facts::Facts, finding::Finding, window::AuditWindow};

struct Check<'a> {
    facts: &'a Facts,
    window: &'a AuditWindow<'a>,
    findings: Vec<Finding>,
}

/// All suspected violations of an order.
pub(super) fn order(facts: &Facts, window: &AuditWindow<'_>) -> Result<Vec<Finding>, EngineError> {
    let mut check = Check { facts, window, findings: Vec::new() };
    check.flow()?;
    check.money()?;
    if window.history_from.is_none_or(|from| facts.order.created_at >= from) {
        check.mails()?;
        check.history()?;
    }
    Ok(check.findings)
}
