//! Command line. Names and verbs are fixed: `inspect` has no side effects, `control` has.

mod bulk;
mod control;
mod merchants;
mod payloads;
mod roles;
mod top;
mod values;

use std::{convert::Infallible, path::PathBuf, process::ExitCode};

pub(crate) use bulk::{BulkArgs, BulkCommand};
use clap::{Args, Parser, Subcommand};
pub(crate) use control::{
    Control, CustomerArgs, CustomerCommand, JobControl, MoveArgs, ResizeArgs, ScheduleControl,
};
use jobs::{
    JobId,
    bulk::OperationId,
    engine::{DeadReason, JobState},
    records::AttemptOutcome,
};
pub(crate) use merchants::{KeyCommand, MerchantCommand, SaleArgs};
pub(crate) use payloads::{CheckArgs, JobsCommand};
pub(crate) use roles::{ApiArgs, ConsoleArgs, HealthArgs, SandboxArgs, WorkerArgs};
use secrecy::SecretString;
use store::domain::OrderId;
pub(crate) use top::TopArgs;
pub(crate) use values::ReserveMinutes;

use crate::config::Config;

/// Background jobs and a lean order API for commerce. Without a subcommand: `dev`.
#[derive(Debug, Parser)]
#[command(name = "orderworks", version, about, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Cli {
    /// Exit status of a failed command: 2 for `verify` and `jobs`, whose 1 is a finding, else 1.
    pub(crate) fn failure(&self) -> ExitCode {
        match &self.command {
            Some(Command::Verify(_) | Command::Jobs(_)) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Options of all commands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Configuration file; see `orderworks config show --defaults` for every setting
    #[arg(long, global = true, env = "ORDERWORKS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the embedded mode, instead of `data.folder`
    #[arg(long, global = true, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    /// The configuration; the command line wins over file and environment.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        Config::load(self.config.as_deref(), self.data.as_deref())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process on SQLite, with a demo merchant
    Dev(DevArgs),
    /// Run jobs
    Worker(WorkerArgs),
    /// Serve the HTTP API
    Api(ApiArgs),
    /// Publish the messages of the outbox as jobs
    Relay(HealthArgs),
    /// Cancel unpaid orders, delete expired records and audit recent changes, on a schedule
    Scheduler(HealthArgs),
    /// Serve the operations console: queues, jobs, orders and operations, for operators
    Console(ConsoleArgs),
    /// Run the sandbox payment provider alone, for roles that run as separate processes
    Sandbox(SandboxArgs),
    /// Bring the schemas of the configured servers up to date
    Migrate(MigrateArgs),
    /// Create and list merchants, and switch their sale mode
    #[command(subcommand)]
    Merchant(MerchantCommand),
    /// Create, list and revoke the API keys of merchants
    #[command(subcommand)]
    Key(KeyCommand),
    /// Show queues, jobs and schedules, without side effects
    #[command(subcommand)]
    Inspect(Inspect),
    /// Watch queues, outbox, workers and running jobs on the terminal, without side effects
    Top(TopArgs),
    /// Pause, resume, resize, purge, cancel, retry, drop, also in bulk; run and pause schedules; move merchants; export
    /// and erase customers
    #[command(subcommand)]
    Control(Control),
    /// Return dead jobs to their queues with fresh attempts
    Redrive(RedriveArgs),
    /// Check that this release reads the jobs of the one before
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Audit orders, stock, payments, the provider's ledger, mails and webhooks against each other
    Verify(VerifyArgs),
    /// Measure the performance of this machine
    Bench(BenchArgs),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Args, Default)]
pub(crate) struct DevArgs {
    /// Address and port, instead of `server.listen`
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// The demo merchant's secret key, `owk_sec_…`, instead of the key of before. Other users of the machine can see
    /// arguments (`ps`): better give it by `--sec-key-file` or `ORDERWORKS_SEC_KEY`
    #[arg(
        long,
        value_name = "KEY",
        conflicts_with = "sec_key_file",
        value_parser = |key: &str| Ok::<_, Infallible>(SecretString::from(key))
    )]
    pub(crate) sec_key: Option<SecretString>,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
}

/// Keys given by the user.
#[derive(Debug, Args, Default)]
pub(crate) struct KeyArgs {
    /// The demo merchant's publishable key, `owk_pub_…`
    #[arg(long, env = "ORDERWORKS_PUB_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) pub_key: Option<String>,
    /// File with the demo merchant's secret key, `owk_sec_…`, and nothing else; or set `ORDERWORKS_SEC_KEY`
    #[arg(long, env = "ORDERWORKS_SEC_KEY_FILE", value_name = "FILE")]
    pub(crate) sec_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Afterwards, create a demo merchant with a shop; its secret key is written to demo-keys.json in the data folder
    #[arg(long)]
    pub(crate) demo_shop: bool,
    #[command(flatten)]
    pub(crate) keys: KeyArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Inspect {
    /// Number of jobs in each queue, by state
    Queues,
    /// Worker processes of each queue: release, slots, last sign of life and last contact with the queue
    Workers,
    /// Limits of jobs in use, by key: slots and starts taken over all workers, jobs that wait for them
    Limits {
        /// Only this limit, such as charges or deliveries
        #[arg(long)]
        name: Option<String>,
    },
    /// Schedules: their times, last run and next five runs
    Schedules,
    /// Bulk operations, newest first, or one of them: what, by whom, why, and what came of it
    Operations {
        /// `op_…`
        id: Option<OperationId>,
    },
    /// Jobs in the queues, oldest first
    Jobs(JobsArgs),
    /// Running jobs: worker, age and progress, as far as their code reports them
    Running(RunningArgs),
    /// One job: its state, every attempt, and what its code has reported
    Job {
        /// `job_…`
        id: JobId,
    },
    /// Finished attempts, newest first
    Attempts(AttemptsArgs),
    /// Messages of the outbox that no relay could read; later ones about the same subject wait
    Outbox,
    /// The payment of an order, with every attempt and refund
    Payment {
        /// `ord_…`
        order: OrderId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    /// Only this queue
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// Only this state: ready, delayed, running or dead
    #[arg(long, value_parser = values::named::<JobState>)]
    pub(crate) state: Option<JobState>,
    /// Only this kind
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct RunningArgs {
    /// Only this queue
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// Only this kind
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct AttemptsArgs {
    /// Only attempts for this order
    #[arg(long)]
    pub(crate) order: Option<String>,
    /// Only this queue
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// Only this kind
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only this outcome: completed, retried, snoozed, cancelled, dead or stale
    #[arg(long, value_parser = values::named::<AttemptOutcome>)]
    pub(crate) outcome: Option<AttemptOutcome>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct RedriveArgs {
    /// Only this queue
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// Only this kind
    #[arg(long)]
    pub(crate) kind: Option<String>,
    #[arg(long, value_parser = values::named::<DeadReason>)]
    #[arg(help = "Only this reason: exhausted, unknown_kind, undecodable or crashed")]
    pub(crate) reason: Option<DeadReason>,
    /// Only errors containing this text
    #[arg(long)]
    pub(crate) error: Option<String>,
    /// Only jobs that died within this span, such as 90s, 30m, 2h, 3d
    #[arg(long, value_parser = values::span)]
    pub(crate) since: Option<std::time::Duration>,
    /// At most this many per second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// Only print the jobs that would be moved
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Exit status: 0 no violations, 1 violations found, 2 the audit could not run.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Audit everything, not only changes since the last audit
    #[arg(long, conflicts_with = "since")]
    pub(crate) full: bool,
    /// Audit changes within this span, such as 90s, 30m, 2h, 3d
    #[arg(long, value_parser = values::span)]
    pub(crate) since: Option<std::time::Duration>,
    /// Make the repairs that are safe
    #[arg(long)]
    pub(crate) repair: bool,
    /// Skip changes younger than this, which may still be in progress; instead of `verify.grace_minutes`
    #[arg(long, value_parser = values::span, value_name = "SPAN")]
    pub(crate) grace: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Measure the embedded mode: orders over HTTP and no-op jobs on SQLite
    #[arg(long, required = true)]
    pub(crate) embedded: bool,
    /// Orders to place
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) orders: u32,
    /// Concurrent requests
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(crate) callers: u32,
    /// No-op jobs to run
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    pub(crate) jobs: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the settings in force, with secrets hidden
    Show {
        /// Print the commented defaults instead: the reference of all settings
        #[arg(long)]
        defaults: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
