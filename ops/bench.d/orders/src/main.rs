#![doc = include_str!("../README.md")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the report is its output")]

mod args;
mod cpu;
mod pgbench;
mod plan;
mod protected;
mod size;
mod stage;

use clap::Parser;

use crate::args::Args;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let report = plan::run(&args).await?;
    print!("{}", report.told("ops/bench orders", args.write_docs.as_deref(), args.json)?);
    Ok(())
}
