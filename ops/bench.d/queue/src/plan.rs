//! The plan of a benchmark run: the order of pieces, and the limits their figures are compared with.
//!
//! A round measures every figure right next to its limit; the table shows the round with the median ratio of the two,
//! and medians of figures without a limit. So a machine that slows down for a while slows both.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use anyhow::{Context, bail, ensure};
use bench_report::{Report, median, middle_round};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{args::RunArgs, celery, figures::Figures, ours};

/// Longest run of one piece. Storing a million jobs takes longest.
const PIECE_MAX: Duration = Duration::from_mins(10);

/// Samples of a latency a second.
const RATE: u32 = 500;

/// Amounts to measure.
struct Size {
    rounds: usize,
    /// Messages of the pieces that publish with many in flight, of those that wait for each confirm, of those that
    /// consume, and of Celery's.
    fast: usize,
    slow: usize,
    consumed: usize,
    celery: usize,
    /// Samples of a latency.
    samples: usize,
    /// Length in milliseconds of the delays measured, and their number.
    delay: u64,
    delayed: usize,
    /// Longest delay in milliseconds used before the broker's queues are counted: a minute uses all delay queues.
    longest: u64,
    /// Jobs counted of each backlog, and its sizes.
    counted: usize,
    small: usize,
    million: usize,
    /// Jobs run for the memory figure.
    memory: usize,
}

const FULL: Size = Size {
    rounds: 5,
    fast: 40_000,
    slow: 1_500,
    // A second and a half at the limit: with a quarter of that, rounds differed by a factor.
    consumed: 160_000,
    celery: 3_000,
    samples: 2_000,
    // Just above a rung of the ladder, where a delay ends latest.
    delay: 28_000,
    delayed: 200,
    longest: 60_000,
    counted: 7_500,
    small: 10_000,
    million: 1_000_000,
    memory: 100_000,
};
const QUICK: Size = Size {
    rounds: 1,
    fast: 3_000,
    slow: 200,
    consumed: 3_000,
    celery: 300,
    samples: 500,
    delay: 2_000,
    delayed: 20,
    longest: 2_000,
    counted: 3_000,
    small: 5_000,
    million: 20_000,
    memory: 5_000,
};

/// One sample per round, by figure.
type Samples = BTreeMap<&'static str, Vec<f64>>;

struct Plan<'a> {
    url: &'a str,
    args: &'a RunArgs,
    samples: Samples,
}

pub(crate) async fn run(url: &str, args: RunArgs) -> anyhow::Result<()> {
    let size = if args.quick { QUICK } else { FULL };
    let mut plan = Plan { url, args: &args, samples: Samples::new() };
    // First, while the virtual host is empty.
    plan.broker(&size).await?;
    for round in 1..=size.rounds {
        eprintln!("round {round} of {}", size.rounds);
        plan.round(&size).await?;
    }
    plan.delays(&size).await?;
    plan.backlogs(&size).await?;
    let mut report = plan.report();
    report.add_version("RabbitMQ", args.broker_version.clone());
    for (name, version) in celery::versions(&args.python).await? {
        report.add_version(name, version);
    }
    print!("{}", report.told("ops/bench queue", args.write_docs.as_deref(), args.json)?);
    Ok(())
}

impl Plan<'_> {
    async fn round(&mut self, size: &Size) -> anyhow::Result<()> {
        let (fast, slow, tasks) = (size.fast.to_string(), size.slow.to_string(), size.celery.to_string());
        let (consumed, needed) = (size.consumed.to_string(), ours::needed(size.consumed).to_string());
        let (samples, rate) = (size.samples.to_string(), RATE.to_string());
        self.rate("raw_publish_1", &["raw-publish", "1", &slow]).await?;
        self.rate("publish_one", &["ours-publish", "1", "1", &slow]).await?;
        self.rate("apalis_amqp_push", &["apalis-push", &slow]).await?;
        self.celery("celery_publish_one", &["publish", "1", &slow]).await?;
        self.celery("celery_publish_many", &["publish", "16", &tasks]).await?;
        self.rate("raw_publish_256", &["raw-publish", "256", &fast]).await?;
        self.rate("publish_many", &["ours-publish", "256", "1", &fast]).await?;
        self.rate("publish_bulk", &["ours-publish", "1", "1000", &fast]).await?;
        self.rate("raw_consume_ack_64", &["raw-consume", "64", &consumed]).await?;
        if self.wanted("process_noop") {
            self.piece(&["ours-fill", "noop", &needed]).await?;
        }
        self.rate("process_noop", &["ours-process", "noop", &consumed]).await?;
        if self.wanted("process_limited") {
            self.piece(&["ours-fill", "limited", &needed]).await?;
        }
        self.rate("process_limited", &["ours-process", "limited", &consumed]).await?;
        self.rate("process_flow", &["ours-flow", "0", &fast]).await?;
        self.rate("process_fair", &["ours-flow", "16", &fast]).await?;
        self.rate("raw_consume_ack_1", &["raw-consume", "1", &consumed]).await?;
        self.rate("apalis_amqp_process", &["apalis-process", &consumed]).await?;
        self.celery("celery_process", &["process", &tasks]).await?;
        for (names, piece) in [
            (["raw_latency_p50", "raw_latency_p99"], "raw-latency"),
            (["latency_p50", "latency_p99"], "ours-latency"),
        ] {
            if self.wanted(names[0]) {
                let figures = self.piece(&[piece, &rate, &samples]).await?;
                self.keep(names[0], &figures, "p50_ms")?;
                self.keep(names[1], &figures, "p99_ms")?;
            }
        }
        Ok(())
    }

    /// What eight job queues cost the broker, once.
    async fn broker(&mut self, size: &Size) -> anyhow::Result<()> {
        let (longest, delay, count) =
            (size.longest.to_string(), size.delay.to_string(), size.samples.to_string());
        let parts = [
            ("broker_queues", "queues"),
            ("broker_memory", "memory_mib"),
            ("broker_commands_ready", "commands"),
            ("broker_commands_delayed", "delayed_commands"),
        ];
        self.once(&parts, &["broker", &longest, &delay, &count]).await
    }

    /// Lateness of short delays, with the backlog of the arguments; once, as its samples are many.
    async fn delays(&mut self, size: &Size) -> anyhow::Result<()> {
        let (delay, count) = (size.delay.to_string(), size.delayed.to_string());
        let parts = [
            ("delay_accuracy_p50", "p50_ms"),
            ("delay_accuracy_p99", "p99_ms"),
            ("delay_accuracy_max", "max_ms"),
            ("delay_accuracy_limit", "limit_ms"),
            ("delay_accuracy_waiting", "waiting"),
        ];
        let backlog = self.args.backlog.to_string();
        self.once(&parts, &["ours-delay", &delay, &count, "--backlog", &backlog]).await
    }

    /// Runs a piece for the figures that are parts of its own, if one of them is wanted.
    async fn once(&mut self, parts: &[(&'static str, &str)], words: &[&str]) -> anyhow::Result<()> {
        if parts.iter().any(|(name, _)| self.wanted(name)) {
            let figures = self.piece(words).await?;
            for &(name, part) in parts {
                self.keep(name, &figures, part)?;
            }
        }
        Ok(())
    }

    /// The first jobs of a short and of a long queue, alternately by Orderworks and by the bare client; then the memory
    /// of a worker on the long one.
    async fn backlogs(&mut self, size: &Size) -> anyhow::Result<()> {
        const SMALL: &str = "process_noop_backlog_10k";
        const MILLION: &str = "process_noop_backlog_1m";
        // All these figures need the queues, so either all are measured or none.
        if !self.wanted(MILLION) {
            return Ok(());
        }
        eprintln!("storing {} jobs", size.million);
        self.piece(&["ours-fill", "million", &size.million.to_string()]).await?;
        let (counted, small) = (size.counted.to_string(), size.small.to_string());
        for round in 1..=size.rounds {
            eprintln!("backlog round {round} of {}", size.rounds);
            self.piece(&["ours-fill", "small", &small]).await?;
            self.rate(SMALL, &["ours-process", "small", &counted]).await?;
            self.rate(MILLION, &["ours-process", "million", &counted, "--keep"]).await?;
            self.piece(&["ours-fill", "small", &small]).await?;
            self.rate("raw_backlog_10k", &["raw-backlog", "small", &counted]).await?;
            self.rate("raw_backlog_1m", &["raw-backlog", "million", &counted, "--keep"]).await?;
        }
        let figures = self.piece(&["ours-process", "million", &size.memory.to_string()]).await?;
        self.keep("worker_memory_backlog_1m", &figures, "peak_mib")
    }

    fn wanted(&self, name: &str) -> bool {
        bench_report::wanted(self.args.only.as_deref(), name)
    }

    async fn rate(&mut self, name: &'static str, words: &[&str]) -> anyhow::Result<()> {
        if self.wanted(name) {
            let figures = self.piece(words).await?;
            self.keep(name, &figures, "per_second")?;
            if let Some(dropped) = figures.get("records_dropped").filter(|dropped| **dropped > 0.0) {
                eprintln!("{name}: {dropped} attempt records were dropped");
            }
        }
        Ok(())
    }

    async fn celery(&mut self, name: &'static str, words: &[&str]) -> anyhow::Result<()> {
        if self.wanted(name) {
            let figures = start(celery::command(&self.args.python, words), self.url, name).await?;
            self.keep(name, &figures, "per_second")?;
        }
        Ok(())
    }

    async fn piece(&self, words: &[&str]) -> anyhow::Result<Figures> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("piece").args(words);
        start(command, self.url, words[0]).await
    }

    fn keep(&mut self, name: &'static str, figures: &Figures, part: &str) -> anyhow::Result<()> {
        let value = *figures.get(part).with_context(|| format!("{name}: no {part}"))?;
        eprintln!("  {name:<28}{value:.2}");
        self.samples.entry(name).or_default().push(value);
        Ok(())
    }

    fn report(&self) -> Report {
        let mut report = Report::default();
        for (name, unit, limit) in FIGURES {
            let measured = match limit {
                Limit::None => median(self.samples(name)).map(|value| (value, None)),
                Limit::Is(limit) => median(self.samples(name)).map(|value| (value, Some(limit))),
                Limit::Of(piece, limit) => middle_round(self.samples(piece), self.samples(limit))
                    .map(|(value, limit)| (value, Some(limit))),
            };
            if let Some((value, limit)) = measured {
                report.add(name, value, unit, limit);
            }
        }
        report
    }

    fn samples(&self, name: &str) -> &[f64] {
        self.samples.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Limit of a figure.
#[derive(Clone, Copy)]
enum Limit {
    None,
    Is(f64),
    /// The ratio of two pieces of the same round.
    Of(&'static str, &'static str),
}

/// Name, unit and limit of each figure.
const FIGURES: [(&str, &str, Limit); 35] = [
    ("raw_publish_1", "messages/s", Limit::None),
    ("raw_publish_256", "messages/s", Limit::None),
    ("raw_consume_ack_1", "messages/s", Limit::None),
    ("raw_consume_ack_64", "messages/s", Limit::None),
    ("raw_latency_p50", "ms", Limit::None),
    ("raw_latency_p99", "ms", Limit::None),
    ("publish_one", "jobs/s", Limit::Of("publish_one", "raw_publish_1")),
    ("publish_many", "jobs/s", Limit::Of("publish_many", "raw_publish_256")),
    ("publish_bulk", "jobs/s", Limit::Of("publish_bulk", "raw_publish_256")),
    ("process_noop", "jobs/s", Limit::Of("process_noop", "raw_consume_ack_64")),
    ("process_limited", "jobs/s", Limit::Of("process_limited", "process_noop")),
    ("process_flow", "jobs/s", Limit::None),
    ("process_fair", "jobs/s", Limit::Of("process_fair", "process_flow")),
    ("latency_p50", "ms", Limit::Of("latency_p50", "raw_latency_p50")),
    ("latency_p99", "ms", Limit::Of("latency_p99", "raw_latency_p99")),
    ("delay_accuracy_p50", "ms", Limit::Of("delay_accuracy_p50", "delay_accuracy_limit")),
    ("delay_accuracy_p99", "ms", Limit::Of("delay_accuracy_p99", "delay_accuracy_limit")),
    ("delay_accuracy_max", "ms", Limit::Of("delay_accuracy_max", "delay_accuracy_limit")),
    ("delay_accuracy_waiting", "jobs", Limit::None),
    ("broker_queues", "queues", Limit::None),
    ("broker_memory", "MiB", Limit::None),
    ("broker_commands_ready", "commands/job", Limit::None),
    ("broker_commands_delayed", "commands/job", Limit::None),
    ("process_noop_backlog_10k", "jobs/s", Limit::Of("process_noop_backlog_10k", "raw_backlog_10k")),
    ("process_noop_backlog_1m", "jobs/s", Limit::Of("process_noop_backlog_1m", "process_noop_backlog_10k")),
    ("raw_backlog_10k", "messages/s", Limit::None),
    ("raw_backlog_1m", "messages/s", Limit::Of("raw_backlog_1m", "raw_backlog_10k")),
    ("apalis_amqp_push", "tasks/s", Limit::None),
    ("apalis_amqp_process", "tasks/s", Limit::None),
    ("celery_publish_one", "tasks/s", Limit::None),
    ("celery_publish_many", "tasks/s", Limit::None),
    ("celery_process", "tasks/s", Limit::None),
    ("worker_memory_backlog_1m", "MiB", Limit::Is(64.0)),
    ("vs_celery_publish", "jobs/s", Limit::Of("publish_many", "celery_publish_many")),
    ("vs_celery_process", "jobs/s", Limit::Of("process_noop", "celery_process")),
];

/// Runs a piece and reads the figures it prints.
async fn start(mut command: Command, url: &str, name: &str) -> anyhow::Result<Figures> {
    command.env("BENCH_AMQP_URL", url).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let output = child.stdout.take().context("the piece has no output")?;
    let mut lines = BufReader::new(output).lines();
    let figures = async {
        while let Some(line) = lines.next_line().await? {
            // Celery prints a banner first.
            if let Ok(figures) = serde_json::from_str(&line) {
                return anyhow::Ok(figures);
            }
        }
        bail!("{name} printed no figures");
    };
    let figures: Figures =
        tokio::time::timeout(PIECE_MAX, figures).await.with_context(|| format!("{name} took too long"))??;
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    ensure!(ended.is_ok(), "{name} did not end");
    Ok(figures)
}
