//! The delay ladder: delay queues with one fixed delay each, shared by all job queues.
//!
//! One delay per queue, because a queue expires messages at its head only: mixed delays would block each other. A delay
//! takes one rung, the next higher one, and the job comes at most a quarter late, or 250 ms. The rungs are shared, and
//! each is declared when it is first used, or by a consuming process soon after its start.

use std::time::Duration;

use crate::engine::SHORT_DELAY_MAX;

/// Delay of each rung in milliseconds, ascending. From one second on each is at most a quarter longer than the one
/// before; below that the step is 250 ms.
pub(crate) const RUNGS: [u64; 23] = [
    250, 500, 750, 1_000, 1_250, 1_560, 1_950, 2_430, 3_030, 3_780, 4_720, 5_900, 7_370, 9_210, 11_500,
    14_300, 17_800, 22_200, 27_700, 34_600, 43_200, 54_000, 60_000,
];

/// Longer delays wait in the job store, where they can be listed and cancelled.
pub(crate) const LADDER_MAX: Duration = SHORT_DELAY_MAX;

/// The rung for a delay up to [`LADDER_MAX`]: the lowest that is not shorter.
pub(crate) fn rung(delay: Duration) -> usize {
    let long_enough = RUNGS.iter().position(|rung| Duration::from_millis(*rung) >= delay);
    long_enough.unwrap_or(RUNGS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_delay_is_early_or_more_than_a_quarter_late() {
        assert_eq!(Duration::from_millis(RUNGS[RUNGS.len() - 1]), LADDER_MAX);
        let least = Duration::from_millis(250);
        for micros in (1..=LADDER_MAX.as_micros()).step_by(997) {
            let delay = Duration::from_micros(u64::try_from(micros).unwrap());
            let waited = Duration::from_millis(RUNGS[rung(delay)]);
            assert!(
                waited >= delay && waited.saturating_sub(delay) <= (delay / 4).max(least),
                "{delay:?}: {waited:?}"
            );
        }
    }
}
