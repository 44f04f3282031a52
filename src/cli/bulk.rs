//! Arguments of `control bulk`.

use std::time::Duration;

use clap::{Args, Subcommand};
use jobs::{
    Priority, Timestamp,
    bulk::{JOBS, OperationId, RATE_DEFAULT},
    engine::{DeadReason, JobState},
};

use workers::ended_items::{MAILS, WEBHOOKS};

use super::values;

#[derive(Debug, Subcommand)]
pub(crate) enum BulkCommand {
    /// Make delayed and dead jobs ready now, dead ones with fresh attempts; or send given-up webhooks, refused mails
    Retry {
        /// jobs, or of those that ended without their effect: webhooks, mails
        #[arg(long, default_value = JOBS, value_parser = [JOBS, WEBHOOKS, MAILS])]
        items: String,
        #[command(flatten)]
        args: BulkArgs,
    },
    /// Return dead jobs to their queues with fresh attempts
    Redrive(BulkArgs),
    /// Cancel jobs that wait or run; with the id of an operation, end that operation
    Cancel {
        /// `op_…`, and no other option
        operation: Option<OperationId>,
        #[command(flatten)]
        args: BulkArgs,
    },
    /// Delete dead jobs for good
    Delete(BulkArgs),
    /// Give waiting jobs another time or queue
    Move {
        /// Start no earlier than this date (UTC) or time, such as 2026-11-01 or 2026-11-01T12:00:00Z
        #[arg(long, value_name = "TIME", value_parser = values::date, required_unless_present = "to")]
        at: Option<Timestamp>,
        /// The new queue
        #[arg(long, value_name = "QUEUE", conflicts_with = "at")]
        to: Option<String>,
        #[command(flatten)]
        args: BulkArgs,
    },
    /// Give waiting jobs another priority
    Reprioritise {
        /// critical, default or bulk
        #[arg(long)]
        priority: Priority,
        #[command(flatten)]
        args: BulkArgs,
    },
    /// Carry out an operation that was previewed without `--yes`
    Confirm {
        /// `op_…`
        operation: OperationId,
        /// Carry it out in this process and show its progress, rather than leave it to the scheduler
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BulkArgs {
    /// Only this queue
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// Only this state: ready, delayed, running or dead
    #[arg(long, value_parser = values::named::<JobState>)]
    pub(crate) state: Option<JobState>,
    /// Only this kind
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// Only this subject, such as an order
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// Only this unique key or concurrency key
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Only errors containing this text
    #[arg(long)]
    pub(crate) error: Option<String>,
    #[arg(long, value_parser = values::named::<DeadReason>)]
    #[arg(help = "Only dead jobs with this reason: exhausted, unknown_kind, undecodable or crashed")]
    pub(crate) reason: Option<DeadReason>,
    /// Only jobs published, or dead ones that died, within this span, such as 90s, 30m, 2h, 3d
    #[arg(long, value_name = "SPAN", value_parser = values::span)]
    pub(crate) newer_than: Option<Duration>,
    /// Only jobs published, or dead ones that died, longer ago than this span
    #[arg(long, value_name = "SPAN", value_parser = values::span)]
    pub(crate) older_than: Option<Duration>,
    /// At most this many per second
    #[arg(long, default_value_t = RATE_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", value_parser = values::note)]
    pub(crate) why: Option<String>,
    /// Who, for the record; the user of this machine when absent
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    pub(crate) who: Option<String>,
    /// Carry it out at once, rather than after `control bulk confirm`
    #[arg(long)]
    pub(crate) yes: bool,
    /// Carry it out in this process and show its progress, rather than leave it to the scheduler
    #[arg(long, requires = "yes")]
    pub(crate) wait: bool,
}
