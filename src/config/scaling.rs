//! Settings of the scaling signal, per queue.

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use jobs::scaling::rule::{Bounds, Pace, WORKERS_MAX};
use workers::queues::QUEUES;

use super::reader::Reader;

const SECTION: &str = "scaling";
/// Longest wait of a job that is intended, of queues that are not named.
const TARGET_WAIT_SECONDS: u32 = 30;
/// Fewest and most workers of queues that are not named.
const MIN: u32 = 1;
const MAX: u32 = 10;
/// Longest target that can be set, in seconds: a day.
const TARGET_WAIT_SECONDS_MAX: u32 = 86_400;

#[derive(Debug, Clone)]
pub(crate) struct Scaling {
    /// Of each queue of workers, by name.
    pub(crate) queues: Vec<(String, Bounds)>,
    pub(crate) pace: Pace,
}

impl Scaling {
    pub(super) fn read(r: &mut Reader) -> Self {
        let pace = Pace {
            shrink_after: r.seconds(SECTION, "shrink_after_seconds", 1),
            step_every: r.seconds(SECTION, "step_seconds", 1),
        };
        Self { queues: bounds(r), pace }
    }
}

/// Bounds of each queue of workers.
fn bounds(r: &mut Reader) -> Vec<(String, Bounds)> {
    let targets = of_queues(r, "target_wait_seconds", 1..=TARGET_WAIT_SECONDS_MAX);
    let (least, most) = (of_queues(r, "min", 0..=WORKERS_MAX), of_queues(r, "max", 1..=WORKERS_MAX));
    let of = |table: &HashMap<String, u32>, queue: &str, usual| table.get(queue).copied().unwrap_or(usual);
    let queues = QUEUES.map(|(queue, _)| {
        let (min, max) = (of(&least, queue, MIN), of(&most, queue, MAX));
        if min > max {
            r.fault(SECTION, "min", &format!("of {queue} = {min}: must not be more than scaling.max, {max}"));
        }
        let target_wait = Duration::from_secs(of(&targets, queue, TARGET_WAIT_SECONDS).into());
        (queue.to_owned(), Bounds { target_wait, min, max })
    });
    queues.into()
}

/// A table of numbers by queue.
fn of_queues(r: &mut Reader, key: &str, bounds: RangeInclusive<u32>) -> HashMap<String, u32> {
    let table: HashMap<String, u32> = r.value(SECTION, key, HashMap::new());
    let known = QUEUES.map(|(queue, _)| queue);
    if table.keys().any(|queue| !known.contains(&queue.as_str())) {
        r.fault(SECTION, key, &format!("names an unknown queue; there are {}", known.join(", ")));
    }
    if let Some(number) = table.values().find(|number| !bounds.contains(*number)) {
        let (low, high) = (bounds.start(), bounds.end());
        r.fault(SECTION, key, &format!("= {number}: must be between {low} and {high}"));
    }
    table
}
