#![doc = include_str!("../README.md")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the report is its output")]

mod cpu;
mod load;
mod pgbench;
mod plan;
mod stage;

use std::path::PathBuf;

use clap::Parser;

#[derive(Parser)]
struct Args {
    /// Release build to measure
    #[arg(long)]
    binary: PathBuf,
    /// Folder with a file `SERVER.pid` for each server
    #[arg(long)]
    pids: PathBuf,
    /// Virtual host of this run, by environment: an argument would show the password
    #[arg(long, env = "BENCH_AMQP_URL", hide_env_values = true)]
    broker: String,
    /// Version of a server, as `name=version`
    #[arg(long)]
    version_of: Vec<String>,
    /// Small counts and one round, to check that everything works
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of Markdown
    #[arg(long)]
    json: bool,
    /// Only measurements among `accept`, `whole_order`, `scale_2` and `scale_4` whose name contains one of these, with
    /// the figures they are compared to; for work on one of them
    #[arg(long)]
    only: Option<String>,
    /// Also replace the section of this file
    #[arg(long)]
    write_docs: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let report = plan::run(&args).await?;
    print!("{}", report.told("ops/bench orders", args.write_docs.as_deref(), args.json)?);
    Ok(())
}
