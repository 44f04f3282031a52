//! Rules that check an order against its facts: pure, one file per invariant.
//!
//! A finding that an outstanding job would resolve names that job, and counts only where the queues do not hold it.

mod flow;
mod history;
mod mails;
mod money;
pub(super) mod window;

use jobs::engine::EngineError;

use self::window::AuditWindow;
use super::{facts::Facts, finding::Finding};

/// All suspected violations of an order.
pub(super) fn order(facts: &Facts, look: &AuditWindow<'_>) -> Result<Vec<Finding>, EngineError> {
    let mut findings = Vec::new();
    flow::check(facts, look, &mut findings)?;
    money::check(facts, look, &mut findings)?;
    if look.history_from.is_none_or(|from| facts.order.created_at >= from) {
        mails::check(facts, look, &mut findings)?;
        history::check(facts, look, &mut findings)?;
    }
    Ok(findings)
}
