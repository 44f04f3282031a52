#![doc = include_str!("../README.md")]
#![expect(missing_docs, reason = "a line that repeats a name tells nothing")]

mod audit;
mod chance;
mod customers;
mod deployment;
mod link;
mod mutation;
mod operator;
mod outside;
mod process;
mod provider;
mod queue;
mod repair;
mod sweep;
mod trace;
mod watch;

use std::{sync::Arc, time::Duration};

use self::{customers::Steady, deployment::Deployment};
pub use self::{
    mutation::Mutation,
    sweep::{Sweep, summary, sweep},
    watch::Violation,
};

/// Longest time with faults.
const FAULTS_MAX: Duration = Duration::from_mins(3);
/// Deadline for the completion of all work: the longest wait is that of a webhook after three failures.
const REST_WITHIN: Duration = Duration::from_hours(12);
/// Rounds of repairs; each may lead to another one.
const REPAIRS_MAX: u32 = 8;
/// Interval of the checks for completion.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Seed that decides the whole run.
    pub seed: u64,
    pub mutation: Option<Mutation>,
    /// Whether to keep the trace as text.
    pub in_words: bool,
}

#[derive(Debug, Clone)]
pub struct Report {
    pub seed: u64,
    pub mutation: Option<Mutation>,
    pub violation: Option<Violation>,
    /// Steps, one a line; empty unless requested.
    pub trace: Vec<String>,
    /// Hash of all steps and their times, with or without text.
    pub fingerprint: u64,
    pub steps: u64,
    pub deliveries: u64,
    /// Duration by the simulated clock.
    pub simulated: Duration,
}

/// Runs one seed to its end.
///
/// # Errors
/// Without a runtime, or when the product cannot be set up.
pub fn run(options: Options) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.map_err(|error| error.to_string())?.block_on(simulate(options))
}

async fn simulate(Options { seed, mutation, in_words }: Options) -> Result<Report, String> {
    let began = tokio::time::Instant::now();
    let world = Arc::new(Deployment::new(seed, mutation, in_words)?);
    let steady = customers::trade(&world).await.map_err(|error| error.to_string())?;
    for index in 0..=world.chance.below(2) {
        tokio::spawn(process::relay(Arc::clone(&world), index));
    }
    for index in 0..=world.chance.below(3) {
        tokio::spawn(process::worker(Arc::clone(&world), index));
    }
    if world.chance.one_in(3) {
        tokio::spawn(operator::operator(Arc::clone(&world)));
    }
    tokio::time::sleep(world.chance.up_to(FAULTS_MAX)).await;
    world.trace.note("calm", String::new);
    world.chance.calm_down();
    rest(&world, &steady).await;
    let (trace, fingerprint, steps) = world.trace.close();
    Ok(Report {
        seed,
        mutation,
        violation: world.watch.violation(),
        trace,
        fingerprint,
        steps,
        deliveries: world.queue.runs(),
        simulated: began.elapsed(),
    })
}

/// Waits until all work is complete, repairs what was refunded by hand, then audits.
async fn rest(world: &Deployment, steady: &[Steady]) {
    let mut repairs = 0;
    let deadline = tokio::time::Instant::now() + REST_WITHIN;
    loop {
        tokio::time::sleep(LOOK).await;
        if world.watch.violation().is_some() {
            return;
        }
        if world.is_idle() {
            // Time for writes that are late by up to half a minute, and for their consequences.
            tokio::time::sleep(LOOK * 4).await;
            if world.is_idle() {
                match repair::repair(world).await {
                    Ok(true) if repairs < REPAIRS_MAX => repairs += 1,
                    Ok(_) => return audit::audit(world, steady),
                    Err(error) => return world.watch.breach("repair", error.to_string()),
                }
            }
        }
        if tokio::time::Instant::now() > deadline {
            let (unsent, held) = (world.orders.unsent(), world.queue.held());
            return world.watch.breach("rest", format!("{unsent} messages unsent, jobs held: {held:?}"));
        }
    }
}
