//! `simulate`: runs seeds and prints violations; see `ops/simulate`.

use std::{io::Write as _, process::ExitCode, thread, time::Instant};

use clap::Parser;
use sim::{Mutation, Options, Report, run, sweep};

/// Last lines of a trace that are shown.
const LINES_SHOWN: usize = 400;

/// Simulates the order and payment flow, one run per seed.
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 0, value_name = "S")]
    from: u64,
    /// Run only this seed, with its trace
    #[arg(long, value_name = "S", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Defect to inject
    #[arg(long, value_name = "NAME")]
    mutation: Option<Mutation>,
    /// Threads to use; default all cores
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Show the whole trace
    #[arg(long)]
    whole: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match simulate(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // A failure to write the error cannot be reported.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs what the arguments ask for; `true` without a violation.
fn simulate(arguments: &Arguments) -> Result<bool, String> {
    let lines_max = if arguments.whole { usize::MAX } else { LINES_SHOWN };
    if let Some(seed) = arguments.seed {
        let report = run(Options { seed, mutation: arguments.mutation, in_words: true })?;
        print(&shown(&report, lines_max))?;
        return Ok(report.violation.is_none());
    }
    let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
    let threads = arguments.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let began = Instant::now();
    let found = sweep(seeds, arguments.mutation, threads, |clean| {
        if clean.is_multiple_of(10_000) {
            // Progress is best effort.
            let _ = writeln!(std::io::stderr(), "{clean} seeds");
        }
    })?;
    let seconds = began.elapsed().as_secs_f64();
    if let Some(failure) = &found.failure {
        print(&shown(failure, lines_max))?;
    }
    print(&format!(
        "{} seeds clean, {} deliveries, {} steps, {seconds:.1} s on {threads} threads\n",
        found.clean, found.deliveries, found.steps
    ))?;
    Ok(found.failure.is_none())
}

fn shown(report: &Report, lines_max: usize) -> String {
    let skipped = report.trace.len().saturating_sub(lines_max);
    let before = (skipped > 0).then(|| format!("… {skipped} steps before"));
    let mut lines: Vec<&str> = before.iter().chain(&report.trace[skipped..]).map(String::as_str).collect();
    let summary = sim::summary(report);
    lines.push(&summary);
    lines.join("\n")
}

fn print(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())
}
