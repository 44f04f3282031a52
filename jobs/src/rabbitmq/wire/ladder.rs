//! The delay ladder: delay queues with one fixed delay each, and the choice of the queue for a delay.
//!
//! One delay per queue, because a queue expires messages at its head only: mixed delays would block each other. Few
//! rungs, because each job queue has a delay queue per rung; a delay between two rungs takes several, one after the
//! other. The alternative, a binary ladder of 28 levels, is exact to the second at the cost of one confirmed hop per
//! binary digit.

use std::time::Duration;

use crate::engine::SHORT_DELAY_MAX;

/// Name and delay of each rung.
pub(crate) const RUNGS: [(&str, Duration); 6] = [
    ("250ms", Duration::from_millis(250)),
    ("1s", Duration::from_secs(1)),
    ("4s", Duration::from_secs(4)),
    ("15s", Duration::from_secs(15)),
    ("1m", Duration::from_mins(1)),
    ("4m", Duration::from_mins(4)),
];

/// Longer delays wait in the job store, where they can be listed and cancelled.
pub(crate) const LADDER_MAX: Duration = SHORT_DELAY_MAX;

/// The rung for the remaining `left` of a delay of `whole`.
///
/// The next higher rung when it makes the job late by at most a quarter of the whole delay, else the next lower one,
/// after which the remainder takes a further rung. The lowest rung serves all shorter delays.
pub(crate) fn rung(left: Duration, whole: Duration) -> usize {
    let higher = RUNGS.iter().position(|(_, delay)| *delay >= left);
    match higher {
        Some(0) => 0,
        Some(index) if RUNGS[index].1.saturating_sub(left) <= whole / 4 => index,
        Some(index) => index - 1,
        None => RUNGS.len() - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delay_is_reached_late_by_a_quarter_or_the_lowest_rung_in_few_steps() {
        for millis in (1..LADDER_MAX.as_millis()).step_by(37) {
            let whole = Duration::from_millis(u64::try_from(millis).unwrap());
            let (mut waited, mut steps) = (Duration::ZERO, 0);
            while waited < whole {
                waited += RUNGS[rung(whole.saturating_sub(waited), whole)].1;
                steps += 1;
            }
            assert!(waited.saturating_sub(whole) <= (whole / 4).max(RUNGS[0].1), "{whole:?} took {waited:?}");
            assert!(steps <= 6, "{whole:?} takes {steps} rungs");
        }
    }
}
