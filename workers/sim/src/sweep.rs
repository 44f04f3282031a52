//! Sweep over many seeds, on several threads: runs share nothing, so the number of threads changes no run.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use clap::ValueEnum as _;
use parking_lot::Mutex;

use crate::{Mutation, Options, Report, run};

#[derive(Debug, Clone, Default)]
pub struct Sweep {
    /// Runs without a violation.
    pub clean: u64,
    /// The lowest seed that violated an invariant, run again with its trace.
    pub failure: Option<Report>,
    /// Deliveries in all clean runs.
    pub deliveries: u64,
    /// Steps in all clean runs.
    pub steps: u64,
}

/// Runs these seeds in order until one violates an invariant; `progress` gets the number of clean runs after each.
///
/// # Errors
/// As [`run`].
pub fn sweep(
    seeds: Range<u64>,
    mutation: Option<Mutation>,
    threads: usize,
    progress: impl Fn(u64) + Sync,
) -> Result<Sweep, String> {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(u64::MAX);
    let found = Mutex::new(Sweep::default());
    let work = || -> Result<(), String> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            // Seeds below a failed one are still run: the lowest one is to be found.
            if seed >= seeds.end || seed > failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let report = run(Options { seed, mutation, in_words: false })?;
            if report.violation.is_some() {
                failed.fetch_min(seed, Ordering::Relaxed);
                continue;
            }
            let mut found = found.lock();
            found.clean += 1;
            found.deliveries += report.deliveries;
            found.steps += report.steps;
            progress(found.clean);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a run panicked".to_owned())?)
    })?;
    let mut found = found.into_inner();
    let failed = failed.into_inner();
    if failed < u64::MAX {
        found.failure = Some(run(Options { seed: failed, mutation, in_words: true })?);
    }
    Ok(found)
}

/// Seed, result and replay command of a run.
pub fn summary(report: &Report) -> String {
    let result = report.violation.as_ref().map_or_else(|| "clean".to_owned(), ToString::to_string);
    let mutation = report.mutation.and_then(|mutation| mutation.to_possible_value());
    let mutation = mutation.map(|value| format!(" --mutation {}", value.get_name()));
    format!(
        "seed {}: {result}\n{} steps, {} deliveries, {} s simulated, fingerprint {:016x}\nreplay: ops/simulate --seed {}{}\n",
        report.seed,
        report.steps,
        report.deliveries,
        report.simulated.as_secs(),
        report.fingerprint,
        report.seed,
        mutation.unwrap_or_default(),
    )
}
