//! Deterministic simulation of the order and payment flow.
//!
//! The relay, the jobs and the settling of their outcomes are those of the product; stores, queue, provider, mail server,
//! receivers, clocks and randomness are simulated and fail as a seed has it. A run is a function of its seed: one thread,
//! a clock that stands still but for timers, one generator, no order that depends on hashing. After a while of faults all
//! goes well again, everything comes to rest, and the invariants of `docs/ARCHITECTURE.md` are checked.
//!
//! Does not simulate apalis, the consumers of real engines and SQL: those have tests of their own against real servers.
//! Start with [`run`]; the faults are in `chance`, the invariants in `watch` (always) and `audit` (at the end).

mod audit;
mod chance;
mod customers;
mod deployment;
mod link;
mod mutation;
mod outside;
mod process;
mod provider;
mod queue;
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

/// For so long things go wrong, at most.
const FAULTS_MAX: Duration = Duration::from_mins(3);
/// By then everything has come to rest: the longest wait is a webhook's after three failures.
const REST_WITHIN: Duration = Duration::from_hours(12);
/// How often to look whether everything has.
const LOOK: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// A defect to put in.
    pub mutation: Option<Mutation>,
    /// Whether to keep the trace in words.
    pub in_words: bool,
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Its defect.
    pub mutation: Option<Mutation>,
    /// What was broken first, if anything.
    pub violation: Option<Violation>,
    /// What happened, one step a line; empty unless asked for.
    pub trace: Vec<String>,
    /// Of every step and its time, kept in words or not.
    pub fingerprint: u64,
    /// Steps in all.
    pub steps: u64,
    /// Deliveries of jobs.
    pub deliveries: u64,
    /// How long it took by the simulated clock.
    pub simulated: Duration,
}

/// Runs one seed to its end.
///
/// # Errors
/// When there is no runtime to be had, or the product refuses to be set up.
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

/// Waits until nothing is left to be done, then audits.
async fn rest(world: &Deployment, steady: &[Steady]) {
    let deadline = tokio::time::Instant::now() + REST_WITHIN;
    loop {
        tokio::time::sleep(LOOK).await;
        if world.watch.violation().is_some() {
            return;
        }
        if world.is_idle() {
            // Writes that are late by half a minute at most, and what they lead to.
            tokio::time::sleep(LOOK * 4).await;
            if world.is_idle() {
                return audit::audit(world, steady);
            }
        }
        if tokio::time::Instant::now() > deadline {
            let (unsent, held) = (world.orders.unsent(), world.queue.held());
            return world.watch.breach("rest", format!("{unsent} messages unsent, jobs held: {held:?}"));
        }
    }
}
