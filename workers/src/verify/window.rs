//! Time bounds of a check.

use base::{Ambient, Timestamp};

pub(super) struct AuditWindow<'a> {
    /// Changes after this are still in progress.
    pub(super) before: Timestamp,
    /// Events, mails and attempts of orders placed before this may have been dropped with their age.
    pub(super) history_from: Option<Timestamp>,
    pub(super) ambient: &'a Ambient,
}

impl AuditWindow<'_> {
    pub(super) fn is_due(&self, since: Timestamp) -> bool {
        since < self.before
    }
}
