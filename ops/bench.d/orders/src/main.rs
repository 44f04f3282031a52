//! Orders over PostgreSQL, Cassandra and RabbitMQ: acceptance beside `pgbench` running the same statements, whole orders
//! with one, two and four workers, and the processor time that each server and we spend on one.
//!
//! Started by `ops/bench orders`, which makes and deletes the virtual host; databases and keyspaces go with this
//! process. Read on in [`plan`], then [`stage`], [`load`], [`pgbench`], [`cpu`].
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
    /// The release build to measure.
    #[arg(long)]
    binary: PathBuf,
    /// Folder with a file `SERVER.pid` for each server.
    #[arg(long)]
    pids: PathBuf,
    /// A virtual host of this run. By environment: an argument would show the password.
    #[arg(long, env = "BENCH_AMQP_URL", hide_env_values = true)]
    broker: String,
    /// `name=version` of the servers.
    #[arg(long)]
    version_of: Vec<String>,
    /// Small counts and one round: whether everything works, not how fast.
    #[arg(long)]
    quick: bool,
    /// JSON instead of Markdown.
    #[arg(long)]
    json: bool,
    /// Only those of `accept`, `whole_order`, `scale_2` and `scale_4` whose name contains one of these, with what they are
    /// held against; for work on one of them.
    #[arg(long)]
    only: Option<String>,
    /// Replaces the section of this file, too.
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
