//! The simulation itself: that the product passes, that a run replays exactly, that defects are found.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failing test says so; helpers are not seen as tests"
)]

mod mutations;
mod replay;
mod seeds;
