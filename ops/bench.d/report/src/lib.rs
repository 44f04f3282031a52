#![doc = include_str!("../README.md")]

mod docs;
mod load;
mod machine;
mod report;
mod rounds;

pub use self::{
    docs::write_section,
    load::{Load, Placed, is_ready, number},
    machine::{Machine, peak_kib, resident_kib, revision},
    report::{Report, kib_to_mib, percentiles, wanted},
    rounds::{median, middle_round},
};
