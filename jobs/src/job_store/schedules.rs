//! The contract of schedules: their rows, and the one scheduler that leads.
//!
//! Guarantees of every implementation: as for [`super`]; a write of a leader takes effect only while its term lasts, in
//! the same transaction. A term is known by its fence, which each new term raises. Does not read timings and
//! definitions, which are texts of [`crate::schedule`], and knows no clock: a scheduler decides by its own how long it
//! has seen no sign of life of the leader, so clocks that differ do no harm.

use async_trait::async_trait;
use base::Timestamp;

use crate::{engine::EngineError, envelope::JobId};

/// Most schedules of a job store.
pub const SCHEDULES_MAX: usize = 1000;

/// A stored schedule.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    pub name: String,
    /// JSON of a [`crate::schedule::Timing`].
    pub timing: String,
    /// JSON of the job and of what becomes of missed runs.
    pub definition: String,
    pub paused: bool,
    /// Whether the leader's program no longer has the schedule; then it does not fire.
    pub orphaned: bool,
    /// `None` for a schedule that never fires again.
    pub next_fire_at: Option<Timestamp>,
    /// Fire time of the last run, or time of a run that an operator started later.
    pub last_fire_at: Option<Timestamp>,
    /// Job of the last run.
    pub last_job: Option<JobId>,
}

/// A schedule of a program, as it is stored.
#[expect(missing_docs, reason = "the lines of `ScheduleRow` say what they mean")]
#[derive(Debug, Clone)]
pub struct NewSchedule {
    pub name: String,
    pub timing: String,
    pub definition: String,
    /// Whether it begins paused; ignored where the schedule exists.
    pub paused: bool,
    /// The next fire time; ignored where the schedule exists with this timing.
    pub next_fire_at: Option<Timestamp>,
}

/// A step of a schedule from one fire time to the next.
#[derive(Debug, Clone)]
pub struct Advance {
    /// The schedule.
    pub name: String,
    /// The next fire time before the step.
    pub from: Timestamp,
    /// The next fire time after it.
    pub to: Option<Timestamp>,
    /// Fire time and job of the run that was published, if there was one.
    pub run: Option<(Timestamp, JobId)>,
}

/// The term of a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Name of the leader; `None` when it has left.
    pub holder: Option<String>,
    /// Number of the term, raised by each new one.
    pub fence: i64,
    /// Signs of life in this term.
    pub beats: i64,
}

/// Schedules and their leader.
#[async_trait]
pub trait Schedules: Send + Sync + 'static {
    /// The present term.
    async fn leader(&self) -> Result<Term, EngineError>;

    /// Begins a new term and returns its fence, unless the present one is no longer as it was seen: then another one
    /// has begun, or its leader has given a sign of life.
    async fn take_lead(&self, holder: &str, seen: &Term) -> Result<Option<i64>, EngineError>;

    /// Gives a sign of life; returns false when the term is over.
    async fn keep_lead(&self, fence: i64) -> Result<bool, EngineError>;

    /// Ends the own term, so that another scheduler need not wait; nothing happens when it is over.
    async fn leave_lead(&self, fence: i64) -> Result<(), EngineError>;

    /// Stores the leader's schedules, with distinct names: new ones are added; of those that exist timing and
    /// definition are replaced, and the next fire time with the timing; all others are marked as orphaned. Returns
    /// false, having changed nothing, when the term is over.
    async fn sync_schedules(&self, fence: i64, schedules: Vec<NewSchedule>) -> Result<bool, EngineError>;

    /// All schedules, by the bytes of their names.
    async fn schedules(&self) -> Result<Vec<ScheduleRow>, EngineError>;

    /// One schedule.
    async fn find_schedule(&self, name: &str) -> Result<Option<ScheduleRow>, EngineError>;

    /// Schedules that have to fire, neither paused nor orphaned, those that have waited longest first.
    async fn due_schedules(&self, now: Timestamp) -> Result<Vec<ScheduleRow>, EngineError>;

    /// Moves a schedule on; returns false, having changed nothing, when the term is over or the next fire time is not
    /// the one of the step.
    async fn advance_schedule(&self, fence: i64, step: &Advance) -> Result<bool, EngineError>;

    /// Pauses a schedule; returns false when there is none.
    async fn pause_schedule(&self, name: &str) -> Result<bool, EngineError>;

    /// Ends a pause and sets the next fire time; returns false when there is no such schedule, or it is not paused.
    async fn resume_schedule(&self, name: &str, next: Option<Timestamp>) -> Result<bool, EngineError>;

    /// Notes a run that an operator has started; nothing happens when there is no such schedule.
    async fn note_run(&self, name: &str, at: Timestamp, job: JobId) -> Result<(), EngineError>;
}
