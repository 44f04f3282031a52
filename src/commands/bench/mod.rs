//! `bench`: measures this machine and prints a table, or JSON with machine, revision and results.
//!
//! Figures are for comparing within one run. Nothing here is a test: no figure passes or fails.

mod machine;
mod noop;
mod orders;
mod report;

use crate::cli::BenchArgs;

use report::Report;

pub(super) async fn run(args: BenchArgs, as_json: bool) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut report = Report::default();
    orders::measure(&args, folder.path(), &mut report).await?;
    noop::measure(&args, folder.path(), &mut report).await?;
    report.print(as_json)
}
