//! The plan of a bulk operation: what is done, to which items, how fast, who asked and why.

use std::fmt;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::OperationError;
use crate::engine::{Alteration, DeadReason, JobState};

/// Items a second, unless the plan says otherwise.
pub const RATE_DEFAULT: u32 = 100;
/// Most items a second.
pub const RATE_MAX: u32 = 10_000;
/// Longest name of who asked, in characters.
const WHO_CHARS_MAX: usize = 100;
/// Longest reason, and longest text of a filter, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// What an operation does to each item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Makes delayed and dead jobs ready, dead ones with fresh attempts.
    Retry,
    /// The same for dead jobs alone.
    Redrive,
    /// Ends jobs that wait or run.
    Cancel,
    /// Deletes dead jobs.
    Delete,
    /// Gives waiting jobs another time, queue or priority.
    Alter(Alteration),
    /// Stops queues from starting jobs, and schedules from firing.
    Pause,
    /// Ends a pause.
    Resume,
    /// Deletes the ready and delayed jobs of queues.
    Purge,
    /// Publishes a run of schedules.
    Run,
}

impl Verb {
    /// Name on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Redrive => "redrive",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
            Self::Alter(Alteration::RunAt(_) | Alteration::Queue(_)) => "move",
            Self::Alter(Alteration::Priority(_)) => "reprioritise",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Purge => "purge",
            Self::Run => "run",
        }
    }

    /// States of the jobs it can be done to; none where it is for other items.
    pub const fn states(&self) -> &'static [JobState] {
        match self {
            Self::Retry => &[JobState::Delayed, JobState::Dead],
            Self::Redrive | Self::Delete => &[JobState::Dead],
            Self::Cancel => &[JobState::Ready, JobState::Delayed, JobState::Running],
            Self::Alter(_) => &[JobState::Ready, JobState::Delayed],
            Self::Pause | Self::Resume | Self::Purge | Self::Run => &[],
        }
    }

    /// Its effect on an item, in words.
    pub fn effect(&self) -> String {
        match self {
            Self::Retry => "becomes ready at once, a dead one with fresh attempts".to_owned(),
            Self::Redrive => "becomes ready with fresh attempts".to_owned(),
            Self::Cancel => "ends for good; a running one is asked to end".to_owned(),
            Self::Delete => "is deleted for good".to_owned(),
            Self::Alter(Alteration::RunAt(at)) => format!("starts no earlier than {at}"),
            Self::Alter(Alteration::Queue(queue)) => format!("moves to the queue {queue}"),
            Self::Alter(Alteration::Priority(priority)) => format!("gets the priority {priority}"),
            Self::Pause => "is paused until it is resumed".to_owned(),
            Self::Resume => "is resumed".to_owned(),
            Self::Purge => "loses its ready and delayed jobs for good".to_owned(),
            Self::Run => "publishes a run now, beside those of its times".to_owned(),
        }
    }
}

/// Conditions on items, all of which must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BulkFilter {
    /// The id of the only item; for items that are chosen by it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The queue.
    pub queue: Option<String>,
    /// The state; all that the verb can be done to when absent.
    pub state: Option<JobState>,
    /// The kind.
    pub kind: Option<String>,
    /// The subject, see [`crate::Job::subject`].
    pub subject: Option<String>,
    /// The unique key, with or without its kind, or the concurrency key.
    pub key: Option<String>,
    /// Part of the last error.
    pub error_contains: Option<String>,
    /// Why the job is dead.
    pub reason: Option<DeadReason>,
    /// Published, or if dead died, at or after this time.
    pub since: Option<Timestamp>,
    /// Published, or if dead died, before this time.
    pub before: Option<Timestamp>,
}

impl fmt::Display for BulkFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let conditions = [
            ("id", self.id.clone()),
            ("queue", self.queue.clone()),
            ("state", self.state.map(|state| state.as_str().to_owned())),
            ("kind", self.kind.clone()),
            ("subject", self.subject.clone()),
            ("key", self.key.clone()),
            ("error", self.error_contains.clone()),
            ("reason", self.reason.map(|reason| reason.as_str().to_owned())),
            ("since", text(self.since)),
            ("before", text(self.before)),
        ];
        let set = conditions.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let set: Vec<String> = set.collect();
        if set.is_empty() { f.write_str("all") } else { f.write_str(&set.join(" ")) }
    }
}

/// What an operation is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the kind of items, [`crate::bulk::Items::name`].
    pub items: String,
    /// What is done to each.
    pub verb: Verb,
    /// Which ones.
    pub filter: BulkFilter,
    /// Most items a second, 1 to [`RATE_MAX`].
    pub rate: u32,
    /// Who asked: 1 to 100 characters, for the record.
    pub who: String,
    /// Why: 1 to 500 characters, for the record.
    pub why: String,
}

impl Plan {
    /// A plan for all items of a kind, at [`RATE_DEFAULT`].
    pub fn new(items: &str, verb: Verb, who: impl Into<String>, why: impl Into<String>) -> Self {
        let (filter, rate) = (BulkFilter::default(), RATE_DEFAULT);
        Self { items: items.to_owned(), verb, filter, rate, who: who.into(), why: why.into() }
    }

    /// The only item, for a kind of items that are chosen by their id alone.
    ///
    /// # Errors
    /// [`OperationError::Plan`] where the filter names no item, or has another condition.
    pub(super) fn only_item(&self) -> Result<&str, OperationError> {
        let only = BulkFilter { id: self.filter.id.clone(), ..BulkFilter::default() };
        match &self.filter.id {
            Some(id) if self.filter == only => Ok(id),
            _ => Err(OperationError::Plan(format!(
                "{}: choose one by its id, and by nothing else",
                self.items
            ))),
        }
    }

    /// Checks rate and texts.
    pub(super) fn check(&self) -> Result<(), OperationError> {
        let refuse = |why: String| Err(OperationError::Plan(why));
        if !(1..=RATE_MAX).contains(&self.rate) {
            return refuse(format!("a rate of {}: use 1 to {RATE_MAX} items a second", self.rate));
        }
        for (what, text, most) in [("who", &self.who, WHO_CHARS_MAX), ("why", &self.why, TEXT_CHARS_MAX)] {
            if !(1..=most).contains(&text.trim().chars().count()) {
                return refuse(format!("`{what}` is for the record: use 1 to {most} characters"));
            }
        }
        let BulkFilter { id, queue, kind, subject, key, error_contains, .. } = &self.filter;
        let texts = [id, queue, kind, subject, key, error_contains];
        if texts.into_iter().flatten().any(|text| text.chars().count() > TEXT_CHARS_MAX) {
            return refuse(format!("a condition of more than {TEXT_CHARS_MAX} characters"));
        }
        Ok(())
    }
}
