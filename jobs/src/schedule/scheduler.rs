//! The scheduler: publishes the jobs of due schedules while it leads.
//!
//! Guarantees: of any number of schedulers over one job store one leads; another takes over [`LEASE`] after the last
//! sign of life, at once after an orderly stop. A run is published before its schedule moves on, so none is lost, and
//! the lead is confirmed before each publish, so that a leader that was replaced publishes nothing more. A run is
//! published twice only if the outcome of the first publish is unknown, or if the leader dies, or is held up for longer
//! than [`LEASE`], between that confirmation and the step after the publish; the second one has the same id. Clocks of
//! schedulers may differ: a run is as early or late as the clock of the leader. Does not run jobs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base::{
    Ambient, ErrorClass, Timestamp,
    time::{between, later},
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Schedule, ScheduleError, fire_time};
use crate::{
    engine::{EngineError, HolderState, KeyHolder, Publish, Published},
    envelope::JobId,
    error::describe,
    job_store::{Advance, SCHEDULES_MAX, ScheduleRow, Schedules, Term},
};

/// How long another scheduler waits for a sign of life of the leader: longer than any publish takes, failed ones too.
pub const LEASE: Duration = Duration::from_secs(30);
/// Interval of the leader's signs of life while nothing is due.
const KEEP_EVERY: Duration = Duration::from_secs(5);
/// Interval of looking for due schedules: how late a run may be.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failure of one schedule, which holds up no other.
const PUT_ASIDE_FOR: Duration = Duration::from_mins(1);
/// Age from which a run that is in the way of later ones is told as a warning.
const BLOCKED_AFTER: Duration = Duration::from_hours(1);

/// One of the schedulers over a job store. All of them should have the same schedules: those of the leader count.
pub struct Scheduler {
    store: Arc<dyn Schedules>,
    engine: Arc<dyn Publish>,
    name: String,
    ambient: Ambient,
    schedules: Vec<Schedule>,
    lead: Option<Lead>,
    /// Term of another leader, and since when it is as it was seen.
    seen: Option<(Term, Timestamp)>,
    /// Schedules that failed, until when.
    aside: HashMap<String, Timestamp>,
}

/// The own term.
struct Lead {
    fence: i64,
    kept_at: Timestamp,
    is_synced: bool,
}

impl Scheduler {
    /// A scheduler of this name, which should be unique and tell an operator the process. Runs are published to
    /// `engine`, whose queues must be declared.
    pub fn new(
        store: Arc<dyn Schedules>,
        engine: Arc<dyn Publish>,
        name: impl Into<String>,
        ambient: Ambient,
    ) -> Self {
        let (schedules, aside) = (Vec::new(), HashMap::new());
        Self { store, engine, name: name.into(), ambient, schedules, lead: None, seen: None, aside }
    }

    /// Adds a schedule; it is stored when this scheduler takes the lead.
    ///
    /// # Errors
    /// [`ScheduleError::Duplicate`] for a name that is taken, [`ScheduleError::TooMany`] beyond [`SCHEDULES_MAX`].
    pub fn with(mut self, schedule: Schedule) -> Result<Self, ScheduleError> {
        if self.schedules.iter().any(|other| other.name() == schedule.name()) {
            return Err(ScheduleError::Duplicate(schedule.name().to_owned()));
        }
        if self.schedules.len() == SCHEDULES_MAX {
            return Err(ScheduleError::TooMany);
        }
        self.schedules.push(schedule);
        Ok(self)
    }

    /// Runs until the token is cancelled, then leaves the lead.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tick = interval(PASS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            match self.pass().await {
                Err(error) if well => {
                    well = false;
                    if error.is_transient() {
                        tracing::warn!(error = describe(&error), "schedules delayed, retrying");
                    } else {
                        tracing::error!(error = describe(&error), "schedules failed, retrying");
                    }
                }
                Ok(_) if !well => {
                    well = true;
                    tracing::info!("schedules resumed");
                }
                _ => {}
            }
        }
        if let Some(lead) = &self.lead
            && let Err(error) = self.store.leave_lead(lead.fence).await
        {
            tracing::warn!(
                error = describe(&error),
                "schedule lead not left; another scheduler takes it later"
            );
        }
    }

    /// Publishes what is due, if this scheduler leads or can take the lead; returns whether it leads.
    ///
    /// # Errors
    /// The store or the engine failed; what was not published is due in the next pass.
    pub async fn pass(&mut self) -> Result<bool, EngineError> {
        let Some(fence) = self.lead().await? else { return Ok(false) };
        let now = self.ambient.now();
        for row in self.store.due_schedules(now).await? {
            if self.aside.get(&row.name).is_some_and(|until| now < *until) {
                continue;
            }
            if !self.fire(fence, &row, now).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The fence of the own term, which begins here where it can.
    async fn lead(&mut self) -> Result<Option<i64>, EngineError> {
        let now = self.ambient.now();
        if let Some(Lead { fence, kept_at, .. }) = self.lead {
            // Also when the clock was set back.
            let is_fresh = kept_at <= now && now < later(kept_at, KEEP_EVERY);
            if !is_fresh && !self.keep(fence).await? {
                return Ok(None);
            }
        } else if !self.take(now).await? {
            return Ok(None);
        }
        self.sync(now).await
    }

    /// Confirms the lead.
    async fn keep(&mut self, fence: i64) -> Result<bool, EngineError> {
        let kept_at = self.ambient.now();
        let keeps = self.store.keep_lead(fence).await?;
        if keeps && let Some(lead) = &mut self.lead {
            lead.kept_at = kept_at;
        } else {
            self.lose();
        }
        Ok(keeps)
    }

    fn lose(&mut self) {
        tracing::warn!(scheduler = self.name, "schedule lead lost to another scheduler");
        (self.lead, self.seen) = (None, None);
    }

    /// Takes the lead where there is no leader, or none that lives.
    async fn take(&mut self, now: Timestamp) -> Result<bool, EngineError> {
        let term = self.store.leader().await?;
        let since = match &self.seen {
            Some((seen, since)) if *seen == term => now.min(*since),
            _ => now,
        };
        if term.holder.is_some() && now < later(since, LEASE) {
            self.seen = Some((term, since));
            return Ok(false);
        }
        self.seen = None;
        let Some(fence) = self.store.take_lead(&self.name, &term).await? else { return Ok(false) };
        tracing::info!(scheduler = self.name, before = term.holder.as_deref(), "schedule lead taken");
        self.lead = Some(Lead { fence, kept_at: now, is_synced: false });
        self.aside.clear();
        Ok(true)
    }

    /// Stores the schedules of this program at the begin of its term.
    async fn sync(&mut self, now: Timestamp) -> Result<Option<i64>, EngineError> {
        let Some(lead) = &mut self.lead else { return Ok(None) };
        let fence = lead.fence;
        if lead.is_synced {
            return Ok(Some(fence));
        }
        let rows =
            self.schedules.iter().map(|schedule| schedule.to_stored(now)).collect::<Result<Vec<_>, _>>();
        let rows = rows.map_err(|error| EngineError::new(ErrorClass::Defect, "job store", error))?;
        if self.store.sync_schedules(fence, rows).await? {
            lead.is_synced = true;
            return Ok(Some(fence));
        }
        self.lose();
        Ok(None)
    }

    /// Publishes the runs of a due schedule; returns whether this scheduler still leads.
    async fn fire(&mut self, fence: i64, row: &ScheduleRow, now: Timestamp) -> Result<bool, EngineError> {
        let Some(due) = row.next_fire_at else { return Ok(true) };
        let schedule = match Schedule::from_stored(row) {
            Ok(schedule) => schedule,
            Err(error) => {
                tracing::error!(schedule = row.name, error = describe(&error), "schedule unreadable");
                self.put_aside(row, now);
                return Ok(true);
            }
        };
        let runs = schedule.missed_runs().runs(schedule.timing(), due, now);
        if runs.first() != Some(&due) {
            tracing::info!(schedule = row.name, %due, runs = runs.len(), "missed runs skipped");
        }
        let mut step = Advance { name: row.name.clone(), from: due, to: None, run: None };
        let next = schedule.timing().next_after(now);
        let mut following = runs.iter().copied().skip(1);
        for at in &runs {
            if !self.keep(fence).await? {
                return Ok(false);
            }
            let job = match self.publish(&schedule, *at).await {
                Ok(job) => job,
                Err(error) if error.is_transient() || matches!(error, EngineError::Closed) => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::error!(schedule = row.name, error = describe(&error), "schedule cannot publish");
                    self.put_aside(row, now);
                    return Ok(true);
                }
            };
            (step.to, step.run) = (following.next().or(next), Some((*at, job)));
            if !self.advance(fence, &mut step).await? {
                return self.keep(fence).await;
            }
        }
        if runs.is_empty() {
            step.to = next;
            self.advance(fence, &mut step).await?;
        }
        Ok(true)
    }

    /// Makes a step, and prepares the next one. False where an operator has changed the schedule, or the term is over.
    async fn advance(&self, fence: i64, step: &mut Advance) -> Result<bool, EngineError> {
        let is_moved = self.store.advance_schedule(fence, step).await?;
        if let Some(to) = step.to {
            step.from = to;
        }
        Ok(is_moved)
    }

    /// Publishes a run; returns its job, or the one in its way.
    async fn publish(&self, schedule: &Schedule, at: Timestamp) -> Result<JobId, EngineError> {
        let id = schedule.run_id(at);
        let published = schedule.publish(&*self.engine, id, self.ambient.now()).await?;
        let Some(Published::NotUnique(holder)) = published.first() else { return Ok(id) };
        tell_skipped(schedule.name(), *holder, at);
        Ok(holder.id)
    }

    fn put_aside(&mut self, row: &ScheduleRow, now: Timestamp) {
        self.aside.insert(row.name.clone(), later(now, PUT_ASIDE_FOR));
    }
}

/// Says why a run was left out.
fn tell_skipped(schedule: &str, holder: KeyHolder, at: Timestamp) {
    let (other, age) = (holder.id, between(fire_time(holder.id).unwrap_or(at), at));
    match holder.state {
        HolderState::Period => {
            tracing::info!(schedule, job.id = %other, "run skipped: the period of its unique key lasts");
        }
        HolderState::Dead => {
            tracing::warn!(schedule, job.id = %other, "run skipped: the last one is dead and keeps its unique key");
        }
        _ if age < BLOCKED_AFTER => {
            tracing::info!(schedule, job.id = %other, "run skipped: the last one has not ended");
        }
        // It may be lost, with its key: a broker's data, or a restored job store.
        _ => {
            tracing::warn!(schedule, job.id = %other, "schedule blocked for an hour by its last run");
        }
    }
}
