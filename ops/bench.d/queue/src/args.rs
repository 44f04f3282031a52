//! Arguments of a whole run.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct RunArgs {
    /// Python interpreter of the environment with Celery
    #[arg(long)]
    pub(crate) python: PathBuf,
    /// Version of the broker
    #[arg(long)]
    pub(crate) broker_version: String,
    /// Small counts and one round: checks that everything works, not how fast
    #[arg(long)]
    pub(crate) quick: bool,
    /// JSON instead of Markdown
    #[arg(long)]
    pub(crate) json: bool,
    /// Also replaces the section of this file
    #[arg(long)]
    pub(crate) write_docs: Option<PathBuf>,
    /// Only figures whose name contains one of these words
    #[arg(long)]
    pub(crate) only: Option<String>,
    /// Jobs that wait in the work queue of the delayed jobs while `delay_accuracy` is measured
    #[arg(long, default_value_t = 0)]
    pub(crate) backlog: usize,
}
