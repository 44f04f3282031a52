//! A queue, its workers and what their jobs call, second by second.
//!
//! A run takes 0.4 s, or longer where what it calls takes fewer a second than the slots could make. A worker has 16
//! slots and starts within 20 s. The policy looks every 15 s, as autoscalers do.

use std::{collections::VecDeque, time::Duration};

use super::policy::{Policy, View};

/// Length of a run of the simulation, in seconds.
const SECONDS: u32 = 3600;
/// Interval of the looks of a policy, in seconds.
pub(super) const LOOK_EVERY: u32 = 15;
/// Time from the decision until a worker works, in seconds.
const START_TAKES: u32 = 20;
/// Jobs that a worker runs at a time.
pub(super) const SLOTS: f64 = 16.0;
/// Time of a run, in seconds.
const SERVICE: f64 = 0.4;
/// Longest wait that is intended, in seconds.
pub(super) const TARGET: u32 = 10;
/// Fewest and most workers.
pub(super) const WORKERS: (u32, u32) = (1, 20);
/// Jobs below which a part of the flow counts as none.
const NOTHING: f64 = 1e-9;

/// A load over time, in seconds since the start.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Jobs that come in a second.
    pub(super) arrival: fn(u32) -> f64,
    /// Runs a second that what they call takes.
    pub(super) capacity: fn(u32) -> f64,
    /// Workers that run and do nothing.
    pub(super) dead: fn(u32) -> u32,
}

/// What a run of the simulation showed, second by second.
#[derive(Default)]
pub(super) struct Run {
    workers: Vec<u32>,
    ages: Vec<u32>,
}

impl Run {
    /// Seconds in which the oldest job was older than the target.
    pub(super) fn late_seconds(&self) -> usize {
        self.ages.iter().filter(|age| **age > TARGET).count()
    }

    pub(super) fn age_max(&self) -> u32 {
        self.ages.iter().copied().max().unwrap_or_default()
    }

    pub(super) fn workers_max(&self) -> u32 {
        self.workers.iter().copied().max().unwrap_or_default()
    }

    pub(super) fn worker_seconds(&self) -> u32 {
        self.workers.iter().sum()
    }

    pub(super) fn worker_hours(&self) -> f64 {
        f64::from(self.worker_seconds()) / 3600.0
    }

    pub(super) fn workers_at(&self, second: u32) -> Option<u32> {
        self.workers.get(usize::try_from(second).ok()?).copied()
    }

    pub(super) fn workers(&self) -> &[u32] {
        &self.workers
    }

    pub(super) fn ages(&self) -> &[u32] {
        &self.ages
    }
}

/// Jobs that wait, by the second in which they came.
#[derive(Default)]
struct Backlog(VecDeque<(u32, f64)>);

impl Backlog {
    fn jobs(&self) -> f64 {
        self.0.iter().map(|(_, jobs)| jobs).sum()
    }

    /// Takes so many jobs, the oldest first.
    fn take(&mut self, mut jobs: f64) {
        while jobs > NOTHING
            && let Some((_, oldest)) = self.0.front_mut()
        {
            let taken = jobs.min(*oldest);
            *oldest -= taken;
            jobs -= taken;
            if *oldest <= NOTHING {
                self.0.pop_front();
            }
        }
    }

    fn age(&self, now: u32) -> u32 {
        self.0.front().map_or(0, |(came, _)| now - came)
    }
}

/// Worker processes, by the second in which each begins to work.
struct Fleet(Vec<u32>);

impl Fleet {
    fn count(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a few")
    }

    fn working(&self, now: u32) -> u32 {
        u32::try_from(self.0.iter().filter(|begins| **begins <= now).count()).expect("a few")
    }

    /// Starts workers, or stops those that were started last.
    fn resize(&mut self, workers: u32, now: u32) {
        self.0.resize(usize::try_from(workers).expect("a few"), now + START_TAKES);
    }
}

/// Runs a load under a policy, from two workers on.
pub(super) fn run(scenario: &Scenario, policy: &mut Policy) -> Run {
    let (mut backlog, mut fleet, mut shown) = (Backlog::default(), Fleet(vec![0, 0]), Run::default());
    let (mut ended, mut busy_seconds) = (0.0, 0.0);
    for now in 0..SECONDS {
        backlog.0.push_back((now, (scenario.arrival)(now)));
        let working = fleet.working(now).saturating_sub((scenario.dead)(now));
        let slots = f64::from(working) * SLOTS;
        let most = (slots / SERVICE).min((scenario.capacity)(now));
        let waiting = backlog.jobs();
        let done = most.min(waiting);
        // All slots are busy where more wait than can be done.
        let service = if waiting > most && most > 0.0 { slots / most } else { SERVICE };
        backlog.take(done);
        ended += done;
        busy_seconds += done * service;
        let age = backlog.age(now);
        shown.workers.push(fleet.count());
        shown.ages.push(age);
        let at = now + 1;
        if at.is_multiple_of(LOOK_EVERY) {
            let view = View {
                at: Duration::from_secs(at.into()),
                backlog: backlog.jobs(),
                oldest_age: Duration::from_secs(age.into()),
                ended,
                busy_seconds,
                workers: fleet.count(),
            };
            fleet.resize(policy.look(&view), at);
            (ended, busy_seconds) = (0.0, 0.0);
        }
    }
    shown
}
