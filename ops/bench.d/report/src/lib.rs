//! Benchmark report as a Markdown table or as JSON, shared by `orderworks bench` and `ops/bench`.
//!
//! Guarantees: every benchmark writes `{"machine", "revision", "versions", "results": [{"name", "value", "unit",
//! "limit", "ratio"}]}`. Measures nothing itself, and no figure passes or fails.

mod docs;
mod machine;
mod report;
mod rounds;

pub use self::{
    docs::write_section,
    machine::{Machine, peak_kib, resident_kib, revision},
    report::{Report, kib_to_mib, percentile, wanted},
    rounds::{median, middle_round},
};
