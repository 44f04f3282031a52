//! Orderworks' queue engine beside the bare client, apalis-amqp and Celery, on one broker in one run.
//!
//! `run` plans the rounds and starts every measurement as a process of its own (a *piece*), so that one leaves no
//! memory, thread or connection behind for the next; a piece prints one JSON object of figures. Started by
//! `ops/bench queue`, which makes and deletes the virtual host. Read on in `plan`, then `raw`, `ours`, `peer`.

mod celery;
mod ours;
mod peer;
mod plan;
mod raw;

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Bytes of a message body, the same for everyone who chooses their own body.
const BODY_BYTES: usize = 300;
/// The piece's figures by name.
type Figures = BTreeMap<String, f64>;

#[derive(Parser)]
struct Cli {
    /// Where the broker is. By environment: an argument would show the password to everyone on the machine.
    #[arg(long, env = "BENCH_AMQP_URL", hide_env_values = true)]
    url: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole bench.
    Run(RunArgs),
    /// One measurement.
    Piece {
        #[command(subcommand)]
        piece: Piece,
    },
}

#[derive(Args)]
struct RunArgs {
    /// The interpreter of the environment that Celery is installed in.
    #[arg(long)]
    python: PathBuf,
    /// What the broker calls its version.
    #[arg(long)]
    broker_version: String,
    /// Small counts and one round: whether everything works, not how fast.
    #[arg(long)]
    quick: bool,
    /// JSON instead of Markdown.
    #[arg(long)]
    json: bool,
    /// Replaces the section of this file, too.
    #[arg(long)]
    write_docs: Option<PathBuf>,
    /// Only figures whose name contains one of these; for work on one of them.
    #[arg(long)]
    only: Option<String>,
}

#[derive(Subcommand)]
enum Piece {
    /// Publishes with so many confirms in flight.
    RawPublish { window: usize, count: usize },
    /// Consumes, acknowledging once per so many.
    RawConsume { ack_every: usize, count: usize },
    /// Takes so many of a queue that was filled before.
    RawBacklog {
        queue: ours::Queue,
        count: usize,
        /// Leaves the rest of the queue for a later piece.
        #[arg(long)]
        keep: bool,
    },
    /// From publishing to receiving, at so many a second.
    RawLatency { rate: u32, count: usize },
    /// Publishes from so many callers, so many jobs a call.
    OursPublish { callers: usize, bulk: usize, count: usize },
    /// Fills a queue.
    OursFill { queue: ours::Queue, count: usize },
    /// Runs so many of the jobs of a queue.
    OursProcess {
        queue: ours::Queue,
        count: usize,
        /// Leaves the rest of the queue for a later piece.
        #[arg(long)]
        keep: bool,
    },
    /// From publishing to the start of the run, at so many a second.
    OursLatency { rate: u32, count: usize },
    /// Pushes one after the other.
    ApalisPush { count: usize },
    /// Runs tasks of a queue filled before.
    ApalisProcess { count: usize },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { url, command } = Cli::parse();
    let figures = match command {
        Command::Run(args) => return plan::run(&url, args).await,
        Command::Piece { piece } => match piece {
            Piece::RawPublish { window, count } => raw::publish(&url, window, count).await?,
            Piece::RawConsume { ack_every, count } => raw::consume(&url, ack_every, count).await?,
            Piece::RawBacklog { queue, count, keep } => {
                raw::backlog(&url, &queue.on_broker(), count, keep).await?
            }
            Piece::RawLatency { rate, count } => raw::latency(&url, rate, count).await?,
            Piece::OursPublish { callers, bulk, count } => ours::publish(&url, callers, bulk, count).await?,
            Piece::OursFill { queue, count } => ours::fill(&url, queue, count).await?,
            Piece::OursProcess { queue, count, keep } => ours::process(&url, queue, count, keep).await?,
            Piece::OursLatency { rate, count } => ours::latency(&url, rate, count).await?,
            Piece::ApalisPush { count } => peer::push(&url, count).await?,
            Piece::ApalisProcess { count } => peer::process(&url, count).await?,
        },
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
