//! Command `bench`: measures this machine and prints a Markdown table, or JSON with machine, revision and results.
//!
//! Figures are for comparison within one run. This is no test: no figure passes or fails.

mod noop;
mod orders;

use bench_report::Report;

use crate::{cli::BenchArgs, output};

pub(super) async fn run(args: BenchArgs, as_json: bool) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut report = Report::default();
    orders::measure(&args, folder.path(), &mut report).await?;
    noop::measure(&args, folder.path(), &mut report).await?;
    if as_json { output::json(&report.json()) } else { output::text(&report.markdown()) }
}
