//! Forms that ask for a change, and the plan of an operation that follows from one.

use jobs::{
    bulk::{BulkFilter, Plan, RATE_DEFAULT, Verb},
    engine::{DeadReason, JobState},
};
use serde::Deserialize;

use crate::{
    access::Role,
    answer::{named, parsed, set},
    error::ConsoleError,
    page::{Field, Form, Hidden},
};

/// Verbs of forms by name. Moves and priorities are left to the command line.
const VERBS: [Verb; 8] = [
    Verb::Retry,
    Verb::Redrive,
    Verb::Cancel,
    Verb::Delete,
    Verb::Pause,
    Verb::Resume,
    Verb::Purge,
    Verb::Run,
];

/// A change that a form asks for.
pub(super) struct Action {
    pub(super) items: &'static str,
    pub(super) verb: &'static str,
    pub(super) button: &'static str,
    pub(super) is_dangerous: bool,
}

/// The form that previews an action, with its conditions.
pub(super) fn action_form(action: &Action, legend: String, conditions: Vec<(&'static str, String)>) -> Form {
    let fixed = [("items", action.items.to_owned()), ("verb", action.verb.to_owned())];
    let all = fixed.into_iter().chain(conditions).filter(|(_, value)| !value.is_empty());
    Form {
        legend,
        method: "post",
        action: "/operations".to_owned(),
        hidden: all.map(|(name, value)| Hidden { name, value }).collect(),
        fields: vec![Field {
            name: "why",
            label: "Why (for the record)",
            value: String::new(),
            kind: "text",
            is_required: true,
        }],
        button: format!("{}…", action.button),
        is_dangerous: action.is_dangerous,
    }
}

/// Role that a verb needs: what deletes for good is an admin's.
pub(super) const fn role_for(verb: &Verb) -> Role {
    match verb {
        Verb::Delete | Verb::Purge => Role::Admin,
        Verb::Retry
        | Verb::Redrive
        | Verb::Cancel
        | Verb::Alter(_)
        | Verb::Pause
        | Verb::Resume
        | Verb::Run => Role::Operator,
    }
}

#[derive(Deserialize)]
pub(super) struct OperationForm {
    items: Option<String>,
    verb: Option<String>,
    id: Option<String>,
    queue: Option<String>,
    state: Option<String>,
    kind: Option<String>,
    subject: Option<String>,
    key: Option<String>,
    error: Option<String>,
    reason: Option<String>,
    rate: Option<String>,
    why: Option<String>,
}

impl OperationForm {
    /// The plan that the form asks for.
    pub(super) fn plan(&self, who: &str) -> Result<Plan, ConsoleError> {
        let needed = |what: &str, text: &Option<String>| {
            let missing = || ConsoleError::Input(format!("`{what}` is missing"));
            set(text.as_deref()).ok_or_else(missing)
        };
        let (items, verb, why) =
            (needed("items", &self.items)?, needed("verb", &self.verb)?, needed("why", &self.why)?);
        let known = VERBS.into_iter().find(|known| known.name() == verb);
        let verb = known.ok_or_else(|| ConsoleError::Input(format!("there is no verb `{verb}`")))?;
        let rate = match set(self.rate.as_deref()) {
            Some(rate) => parsed(&rate)?,
            None => RATE_DEFAULT,
        };
        let filter = BulkFilter {
            id: set(self.id.as_deref()),
            queue: set(self.queue.as_deref()),
            state: named("state", self.state.as_deref(), &JobState::ALL, JobState::as_str)?,
            kind: set(self.kind.as_deref()),
            subject: set(self.subject.as_deref()),
            key: set(self.key.as_deref()),
            error_contains: set(self.error.as_deref()),
            reason: named("reason", self.reason.as_deref(), &DeadReason::ALL, DeadReason::as_str)?,
            since: None,
            before: None,
        };
        Ok(Plan { filter, rate, ..Plan::new(&items, verb, who, why) })
    }
}
