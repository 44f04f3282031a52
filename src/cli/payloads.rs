//! Arguments of `jobs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// Check, before a rollout, that this release reads every job that waits
    Check(CheckArgs),
    /// Print golden payloads, of each kind and version, for `jobs check --golden` of the next release
    Golden,
}

/// Exit status: 0 all jobs are readable, 1 some are not, 2 the check could not run.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Also read golden payloads, as `jobs golden` of the release before prints them
    #[arg(long, value_name = "FILE")]
    pub(crate) golden: Option<PathBuf>,
    /// Read up to N ready jobs of each queue and priority where a broker cannot list them; they move to its end
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub(crate) sample: u32,
}
