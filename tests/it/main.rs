//! The binary as its users meet it: real processes, real HTTP, real kills.

mod cli;
mod dev;
mod kill;
mod util;
