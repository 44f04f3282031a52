#![doc = include_str!("../README.md")]

mod args;
mod broker;
mod celery;
mod delays;
mod figures;
mod flow;
mod ours;
mod peer;
mod plan;
mod raw;

use std::time::Duration;

use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

use crate::args::RunArgs;

#[derive(Parser)]
struct Cli {
    /// Address of the broker. By environment: an argument would show the password to every user of the machine
    #[arg(long, env = "BENCH_AMQP_URL", hide_env_values = true)]
    url: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the whole benchmark
    Run(RunArgs),
    /// Runs one measurement
    Piece {
        #[command(subcommand)]
        piece: Piece,
    },
}

#[derive(Subcommand)]
enum Piece {
    /// Publishes with this many confirms in flight
    RawPublish { window: usize, count: usize },
    /// Consumes, with one acknowledgement per `ack_every` deliveries
    RawConsume { ack_every: usize, count: usize },
    /// Consumes `count` messages of a queue filled before
    RawBacklog {
        queue: ours::Queue,
        count: usize,
        /// Leaves the other messages in the queue for a later piece
        #[arg(long)]
        keep: bool,
    },
    /// Latency from publish to receipt, at this many a second
    RawLatency { rate: u32, count: usize },
    /// Publishes from this many callers, `bulk` jobs per call
    OursPublish { callers: usize, bulk: usize, count: usize },
    /// Fills a queue.
    OursFill { queue: ours::Queue, count: usize },
    /// Runs `count` jobs of a queue filled before
    OursProcess {
        queue: ours::Queue,
        count: usize,
        /// Leaves the other jobs in the queue for a later piece
        #[arg(long)]
        keep: bool,
    },
    /// Publishes and runs jobs of this many fair keys at once, a few ahead; of a plain queue with none
    OursFlow { keys: usize, count: usize },
    /// Latency from publish to the start of the run, at this many a second
    OursLatency { rate: u32, count: usize },
    /// Lateness of short delays
    OursDelay {
        delay_ms: u64,
        count: usize,
        /// Jobs that wait in the same work queue meanwhile
        #[arg(long, default_value_t = 0)]
        backlog: usize,
    },
    /// What eight job queues cost the broker
    Broker {
        /// Longest delay used before the queues are counted
        longest_ms: u64,
        delay_ms: u64,
        count: usize,
        /// Command line of the broker
        #[arg(long, env = "BENCH_RABBITMQCTL")]
        control: String,
    },
    /// Pushes one task after the other
    ApalisPush { count: usize },
    /// Runs tasks of a queue filled before.
    ApalisProcess { count: usize },
}

/// That of the product.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

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
            Piece::OursFlow { keys, count } => flow::flow(&url, keys, count).await?,
            Piece::OursLatency { rate, count } => ours::latency(&url, rate, count).await?,
            Piece::OursDelay { delay_ms, count, backlog } => {
                delays::accuracy(&url, backlog, Duration::from_millis(delay_ms), count).await?
            }
            Piece::Broker { longest_ms, delay_ms, count, control } => {
                let [longest, delay] = [longest_ms, delay_ms].map(Duration::from_millis);
                broker::usage(&url, &control, longest, delay, count).await?
            }
            Piece::ApalisPush { count } => peer::push(&url, count).await?,
            Piece::ApalisProcess { count } => peer::process(&url, count).await?,
        },
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
