//! Tests of the simulation: the product passes, a run replays exactly, defects are found.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failing test says so; helpers are not seen as tests"
)]

mod mutations;
mod replay;
mod scaling;
mod seeds;
