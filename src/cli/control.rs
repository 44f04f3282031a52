//! Arguments of `control`.

use clap::{Args, Subcommand};
use jobs::{JobId, Timestamp};
use store::domain::{CustomerId, MerchantId, OrderId};

use super::{bulk::BulkCommand, values};

#[derive(Debug, Subcommand)]
pub(crate) enum Control {
    #[command(flatten)]
    Jobs(JobControl),
    #[command(flatten)]
    Schedules(ScheduleControl),
    /// Change how many jobs of a queue a worker process runs at a time, across restarts; running jobs end as they are
    Resize(ResizeArgs),
    /// Change many jobs at once: preview, confirm, carry out at a rate, keep as a record
    #[command(subcommand)]
    Bulk(Box<BulkCommand>),
    /// Export or erase what is stored of a customer
    #[command(subcommand)]
    Customer(CustomerCommand),
    /// Move a merchant to another shard while it is in use; run it again to continue an interrupted move
    MoveMerchant(MoveArgs),
    /// Settle the violations that `verify` reports of an order, once they were put right by hand
    Settle {
        /// `ord_…`
        order: OrderId,
        /// How, for the record
        #[arg(long, value_parser = values::note)]
        note: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CustomerCommand {
    /// Print what is stored of a customer as JSON: account, orders with their mails, and the record of an erasure
    Export(CustomerArgs),
    /// Delete the account, and erase name, addresses and reference in the customer's orders; records of money stay
    Erase {
        #[command(flatten)]
        of: CustomerArgs,
        /// Who asked for it and why, for the record; nothing personal
        #[arg(long, value_parser = values::note)]
        note: String,
        /// Confirm the erasure
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CustomerArgs {
    /// `cus_…`
    pub(crate) id: CustomerId,
    /// `mer_…`; needed once the account was deleted
    #[arg(long)]
    pub(crate) merchant: Option<MerchantId>,
}

#[derive(Debug, Args)]
pub(crate) struct ResizeArgs {
    /// The queue and the number, from 1 to 1000, or `default` for that of the configuration
    #[arg(value_name = "QUEUE=N", value_parser = values::size)]
    pub(crate) size: (String, Option<u32>),
    /// Only in this process, as `inspect workers` names it, instead of in all that have no number of their own
    #[arg(long, value_name = "NAME")]
    pub(crate) worker: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// `mer_…`
    pub(crate) merchant: MerchantId,
    /// Target shard, by its name in shards.urls
    #[arg(long, value_name = "SHARD")]
    pub(crate) to: String,
    /// Only print what would be moved, and how many rows
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep the rows on the old shard, unused
    #[arg(long)]
    pub(crate) keep_source: bool,
    /// Undo a move that has not reached the handover
    #[arg(long, conflicts_with_all = ["dry_run", "keep_source"])]
    pub(crate) abort: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleControl {
    /// Publish a run of a schedule now, beside those at its times
    #[command(name = "run-schedule")]
    Run {
        /// The schedule
        name: String,
    },
    /// Stop a schedule from firing, across restarts, until it is resumed
    #[command(name = "pause-schedule")]
    Pause {
        /// The schedule
        name: String,
    },
    /// Resume a paused schedule, from now on
    #[command(name = "resume-schedule")]
    Resume {
        /// The schedule
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobControl {
    /// Stop dispatching jobs of a queue, across restarts, until it is resumed
    Pause {
        /// The queue
        queue: String,
    },
    /// Resume a paused queue
    Resume {
        /// The queue
        queue: String,
    },
    /// Delete all jobs waiting in a queue
    Purge {
        /// The queue
        queue: String,
        /// Confirm the deletion
        #[arg(long)]
        yes: bool,
    },
    /// Cancel a job for good
    Cancel {
        /// `job_…`
        id: JobId,
        /// Reason, for the record
        #[arg(long, default_value = "cancelled by an operator")]
        reason: String,
    },
    /// Delete dead jobs of a queue for good
    Drop {
        /// The queue
        #[arg(long)]
        queue: String,
        /// Only this kind
        #[arg(long)]
        kind: Option<String>,
        /// Only jobs that died before this date (UTC) or time, such as 2026-11-01 or 2026-11-01T12:00:00Z
        #[arg(long, value_parser = values::date, value_name = "DATE")]
        before: Option<Timestamp>,
        /// Only count the jobs that would be deleted
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a delayed or dead job ready now
    Retry {
        /// `job_…`
        id: JobId,
    },
}
