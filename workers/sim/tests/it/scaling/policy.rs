//! Policies that say how many workers to run: the rule of the product, depth, and processor time.
//!
//! The latter two are those of common autoscalers: a number of jobs a worker, or 70 % of the processor time that a
//! worker asks for, each held for five minutes before it falls.

use std::{collections::VecDeque, time::Duration};

use jobs::scaling::{
    Meter,
    rule::{Bounds, Load, Pace, Scaler},
};

use super::model::{LOOK_EVERY, SLOTS, TARGET, WORKERS};

/// Jobs a worker, for scaling by depth.
const DEPTH: f64 = 100.0;
/// Processor time of a run, in seconds: a worker with all slots busy uses a whole processor, which it asks for.
const CPU_SECONDS: f64 = 0.025;
/// Share of the processor time to reach, and the deviation that changes nothing.
const CPU_TARGET: (f64, f64) = (0.7, 0.1);
/// Time over which the largest number holds.
const STABLE_FOR: Duration = Duration::from_mins(5);

/// What a policy sees of the time since its last look.
pub(super) struct View {
    /// Since the start.
    pub(super) at: Duration,
    pub(super) backlog: f64,
    pub(super) oldest_age: Duration,
    pub(super) ended: f64,
    pub(super) busy_seconds: f64,
    pub(super) workers: u32,
}

pub(super) enum Policy {
    Rule(Box<(Meter, Scaler)>),
    Depth(Stabilised),
    Cpu(Stabilised),
}

/// Numbers of the last minutes, of which the largest counts.
#[derive(Default)]
pub(super) struct Stabilised(VecDeque<(Duration, u32)>);

impl Policy {
    pub(super) fn all() -> [(&'static str, Self); 3] {
        let (min, max) = WORKERS;
        let bounds = Bounds { target_wait: Duration::from_secs(TARGET.into()), min, max };
        let rule = Self::Rule(Box::new((Meter::default(), Scaler::new(bounds, Pace::default()))));
        let (depth, cpu) = (Self::Depth(Stabilised::default()), Self::Cpu(Stabilised::default()));
        [("rule", rule), ("depth", depth), ("CPU", cpu)]
    }

    /// Workers to run from now on.
    pub(super) fn look(&mut self, view: &View) -> u32 {
        match self {
            Self::Rule(parts) => by_rule(&mut parts.0, &mut parts.1, view),
            Self::Depth(recent) => recent.largest(view.at, whole(view.backlog / DEPTH)),
            Self::Cpu(recent) => {
                let workers = f64::from(view.workers);
                let share = view.ended * CPU_SECONDS / f64::from(LOOK_EVERY) / workers / CPU_TARGET.0;
                let is_near = (share - 1.0).abs() <= CPU_TARGET.1;
                recent.largest(view.at, if is_near { view.workers } else { whole(workers * share) })
            }
        }
    }
}

fn by_rule(meter: &mut Meter, scaler: &mut Scaler, view: &View) -> u32 {
    meter.take(view.at, view.backlog, view.ended, view.busy_seconds);
    let service_seconds = meter.service_seconds().unwrap_or(1.0);
    let load = Load {
        backlog: view.backlog,
        oldest_age: view.oldest_age,
        arrival_per_second: meter.arrival_per_second(),
        service_seconds,
        usual_service_seconds: meter.usual_service_seconds().unwrap_or(service_seconds),
        slots_per_worker: SLOTS,
        is_paused: false,
        is_refusing: false,
        concurrent_max: None,
    };
    scaler.step(view.at, &load, view.workers).workers
}

impl Stabilised {
    fn largest(&mut self, at: Duration, workers: u32) -> u32 {
        self.0.push_back((at, workers));
        self.0.retain(|(then, _)| *then + STABLE_FOR >= at);
        self.0.iter().map(|(_, workers)| *workers).max().unwrap_or(workers)
    }
}

/// The least whole number of workers that is not below this one.
fn whole(exact: f64) -> u32 {
    let (min, max) = WORKERS;
    (min..max).find(|workers| f64::from(*workers) >= exact).unwrap_or(max)
}
