//! Scaling signal: how many worker processes each queue needs, over all processes that work on it.
//!
//! Guarantees: reads the engine and the workers' notes and changes neither, so any number of processes may ask, and no
//! worker need run; a queue that is not declared is left out; a figure that cannot be had is an error, never 0. Holds a
//! few numbers a queue in memory: a process that starts begins with the workers that run, and takes time to measure.
//!
//! [`rule`] decides from numbers alone, [`EndedRuns`] counts, [`Meter`] makes rates of counts, [`Scaling`] asks and
//! joins them. Starts and stops nothing: whatever runs the workers follows the signal.

mod ended;
mod meter;
pub mod rule;
mod signal;

pub use self::{
    ended::{EndedRuns, RunTotals},
    meter::Meter,
    signal::{QueuePlan, QueueSignal, Scaling},
};
