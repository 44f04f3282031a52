//! The console over a whole deployment in files: who may do what, what pages show and do not, what actions do.

#![expect(clippy::expect_used, reason = "a panic is how a test fails, also in its helpers")]

mod access;
mod actions;
mod altered;
mod given_up;
mod job;
mod orders;
mod outage;
mod overview;
mod pages;
mod tables;
mod util;
