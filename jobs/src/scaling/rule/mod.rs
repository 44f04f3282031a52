//! Rule of scaling: the number of worker processes that a queue needs, from numbers alone.
//!
//! ```text
//! desired = ceil((rate × service + backlog × service ÷ target_wait) ÷ (slots × 0.7))
//! ```
//!
//! Guarantees:
//! - The number is between the bounds of the queue, never falls with a larger backlog, and never is below what the
//!   arriving jobs alone need, unless the upper bound or the dependency caps it.
//! - It grows at once; by one step a minute more where jobs wait longer than they should although all that were asked
//!   for run. It shrinks by one step a minute, after five minutes of less need, or at another [`Pace`]: a constant load
//!   does not make it swing.
//! - It does not grow while more workers cannot help: while their circuit breaker is open, above the number of jobs
//!   that the dependency takes at once, and while runs take more than [`SLOWDOWN_MAX`] times as long as usual.
//!
//! `service` is the time of a run lately, or the usual one where that is less: what a run takes longer than usual it
//! waits inside of what it calls, and more runs at once would make it wait longer.
//!
//! No clock, no input or output: the caller says what time it is. The measures are those of [`super::Meter`].

use std::time::Duration;

use serde::Serialize;

/// Most workers of a queue that are asked for.
pub const WORKERS_MAX: u32 = 1000;
/// Share of the slots that work may fill: closer to all of them waits grow without bound.
pub const UTILISATION: f64 = 0.7;
/// How many times as long as usual runs may take before the dependency counts as the bottleneck. Each worker that is
/// added to a full dependency makes runs longer, so this bounds how many are added in vain.
pub const SLOWDOWN_MAX: f64 = 2.0;
/// Excess over a whole number that comes of rounding.
const ROUNDING: f64 = 1e-9;

/// The measures of a queue, over all of its workers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Jobs that may start and wait for a slot.
    pub backlog: f64,
    /// Time since the oldest of them may start.
    pub oldest_age: Duration,
    /// Jobs that become ready in a second, retries among them.
    pub arrival_per_second: f64,
    /// Mean time of a run, lately.
    pub service_seconds: f64,
    /// The same over hours.
    pub usual_service_seconds: f64,
    /// Jobs that a worker runs at a time.
    pub slots_per_worker: f64,
    /// Whether an operator has paused the queue.
    pub is_paused: bool,
    /// Whether every worker of the queue holds back, as what its jobs call is known to fail.
    pub is_refusing: bool,
    /// Jobs at once that what they call takes, over all workers; `None` without such a limit.
    pub concurrent_max: Option<u32>,
}

/// What an operator sets for a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Longest wait of a job that is intended; a second at least.
    pub target_wait: Duration,
    /// Fewest workers.
    pub min: u32,
    /// Most workers, [`WORKERS_MAX`] at most.
    pub max: u32,
}

/// How fast the number of workers changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time of less need before the first step down; default 5 min.
    pub shrink_after: Duration,
    /// Least time between two steps down, and before a step up for age alone; default 1 min.
    pub step_every: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { shrink_after: Duration::from_mins(5), step_every: Duration::from_mins(1) }
    }
}

/// What caps the number of workers, beside the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedBy {
    /// What the jobs call: more of them at once would not end sooner.
    Dependency,
}

/// A number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Desired {
    /// Worker processes of the queue.
    pub workers: u32,
    /// Reason for which they are not more.
    pub limited_by: Option<LimitedBy>,
}

impl Bounds {
    fn within(&self, workers: u32) -> u32 {
        workers.min(self.max.min(WORKERS_MAX)).max(self.min)
    }
}

impl Load {
    /// Whether more workers would only wait for what their jobs call.
    fn is_stuck(&self) -> bool {
        self.is_refusing || self.service_seconds > self.usual_service_seconds * SLOWDOWN_MAX
    }
}

/// Workers that this load needs, whatever their number was before.
pub fn needed(load: &Load, bounds: &Bounds) -> Desired {
    if load.is_paused {
        return Desired { workers: bounds.within(0), limited_by: None };
    }
    let service = load.service_seconds.min(load.usual_service_seconds);
    let target_wait = bounds.target_wait.as_secs_f64().max(1.0);
    let busy_slots = load.arrival_per_second * service + load.backlog * service / target_wait;
    let asked = whole(busy_slots / (load.slots_per_worker.max(1.0) * UTILISATION));
    let (asked, useful) = (bounds.within(asked), bounds.within(asked.min(useful_max(load))));
    Desired { workers: useful, limited_by: (useful < asked).then_some(LimitedBy::Dependency) }
}

/// Workers whose slots the dependency can fill, one at least.
fn useful_max(load: &Load) -> u32 {
    let slots = load.slots_per_worker.max(1.0);
    load.concurrent_max.map_or(WORKERS_MAX, |jobs| whole(f64::from(jobs) / slots).max(1))
}

/// The least number that is not below this one, [`WORKERS_MAX`] at most.
fn whole(exact: f64) -> u32 {
    (0..WORKERS_MAX).find(|workers| f64::from(*workers) + ROUNDING >= exact).unwrap_or(WORKERS_MAX)
}

/// The rule over time, for one queue.
#[derive(Debug, Clone)]
pub struct Scaler {
    bounds: Bounds,
    pace: Pace,
    held: Option<HeldWorkers>,
}

/// The number that is asked for.
#[derive(Debug, Clone, Copy)]
struct HeldWorkers {
    workers: u32,
    /// Since when fewer would do.
    less_since: Option<Duration>,
    changed_at: Duration,
}

impl HeldWorkers {
    fn change(&mut self, workers: u32, at: Duration) {
        *self = Self { workers, less_since: None, changed_at: at };
    }
}

impl Scaler {
    /// A rule that has asked for nothing so far.
    pub fn new(bounds: Bounds, pace: Pace) -> Self {
        Self { bounds, pace, held: None }
    }

    /// The number of workers to run from now on. `at` is the time since any fixed moment, `running` the number that
    /// runs; the first step begins with it, so that a restart of the caller stops no workers.
    pub fn step(&mut self, at: Duration, load: &Load, running: u32) -> Desired {
        let Self { bounds, pace, .. } = *self;
        let need = needed(load, &bounds);
        let begin = || HeldWorkers { workers: bounds.within(running), less_since: None, changed_at: at };
        let held = self.held.get_or_insert_with(begin);
        // The first one is never refused: without it nothing would tell that the dependency works again.
        let most_now = if load.is_stuck() { held.workers.max(1) } else { WORKERS_MAX };
        if need.workers > most_now {
            (held.workers, held.less_since) = (most_now, None);
            return Desired { workers: most_now, limited_by: Some(LimitedBy::Dependency) };
        }
        let is_late = load.oldest_age > bounds.target_wait && !load.is_paused;
        let limited_by = need.limited_by.or((is_late && load.is_stuck()).then_some(LimitedBy::Dependency));
        let rested = at.saturating_sub(held.changed_at) >= pace.step_every;
        if need.workers > held.workers {
            held.change(need.workers, at);
        } else if is_late && limited_by.is_none() {
            held.less_since = None;
            if rested && running >= held.workers {
                held.change(bounds.within(held.workers.saturating_add(1)), at);
            }
        } else if need.workers < held.workers {
            let less_since = *held.less_since.get_or_insert(at);
            if rested && at.saturating_sub(less_since) >= pace.shrink_after {
                held.workers = held.workers.saturating_sub(1);
                held.changed_at = at;
            }
        } else {
            held.less_since = None;
        }
        Desired { workers: held.workers, limited_by }
    }
}

#[cfg(test)]
mod tests;
