//! Arguments of a run.

use std::path::PathBuf;

use clap::Parser;

#[derive(Parser)]
pub(crate) struct Args {
    /// Release build to measure
    #[arg(long)]
    pub(crate) binary: PathBuf,
    /// Folder with a file `SERVER.pid` for each server
    #[arg(long)]
    pub(crate) pids: PathBuf,
    /// Virtual host of this run, by environment: an argument would show the password
    #[arg(long, env = "BENCH_AMQP_URL", hide_env_values = true)]
    pub(crate) broker: String,
    /// Redis of the counters that processes share, by environment as well
    #[arg(long, env = "ORDERWORKS_TEST_REDIS_URL", hide_env_values = true)]
    pub(crate) redis: String,
    /// Version of a server, as `name=version`
    #[arg(long)]
    pub(crate) version_of: Vec<String>,
    /// Small counts and one round, to check that everything works
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print JSON instead of Markdown
    #[arg(long)]
    pub(crate) json: bool,
    /// Only measurements among `accept`, `accept_protected`, `whole_order`, `scale_2` and `scale_4` whose name contains
    /// one of these, with the figures they are compared to; for work on one of them
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Also replace the section of this file
    #[arg(long)]
    pub(crate) write_docs: Option<PathBuf>,
}
