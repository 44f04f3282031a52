//! Commands `inspect queues`, `inspect workers` and `control resize`: what queues hold, and the processes that work on
//! them, from the engine's consumers and from the notes that worker processes write into the job store.

use std::{collections::BTreeSet, process::ExitCode};

use anyhow::{Result, bail};
use base::{Ambient, Timestamp};
use jobs::{
    Admin,
    engine::FairKey,
    inspection::{self, QueueStatus, WorkerStatus, live_notes},
    job_store::WorkerNote,
};
use serde_json::json;

use crate::{
    cli::ResizeArgs,
    config::Config,
    output::{self, age, one_line},
    wiring::{Jobs, open_job_store, open_reports},
};

async fn notes(config: &Config) -> Result<Vec<WorkerNote>> {
    let ambient = Ambient::system();
    // Where the queue is in a file, there is no job store before the first worker.
    match open_reports(&config.engines, &ambient).await? {
        Some(store) => Ok(live_notes(store.as_ref(), &ambient).await?),
        None => Ok(Vec::new()),
    }
}

/// State of a queue beside its numbers.
fn remarks(status: &QueueStatus) -> String {
    let remarks = [(status.depth.paused, "paused"), (status.fair.is_some(), "fair")];
    let remarks: Vec<_> = remarks.into_iter().filter(|(holds, _)| *holds).map(|(_, what)| what).collect();
    remarks.join(", ")
}

/// The keys of a fair queue with most jobs waiting, if any wait for their turn.
fn longest(status: &QueueStatus) -> Option<String> {
    let keys = status.fair.as_ref().filter(|keys| !keys.is_empty())?;
    let told = keys.iter().map(|FairKey { key, weight, waiting }| {
        let key = if key.is_empty() { "no key".to_owned() } else { one_line(Some(key)) };
        let weight = if *weight == 1 { String::new() } else { format!(" (weight {weight})") };
        format!("{key} {waiting}{weight}")
    });
    Some(format!("{}: most wait of {}", status.depth.queue, told.collect::<Vec<_>>().join(", ")))
}

pub(super) async fn queues(engine: &dyn Admin, config: &Config, as_json: bool) -> Result<()> {
    let now = Ambient::system().now();
    let lines = inspection::queues(engine, &notes(config).await?, now).await?;
    let headings = ["QUEUE", "READY", "DELAYED", "RUNNING", "DEAD", "OLDEST", "WORKERS", "SLOTS", ""];
    output::list(as_json, &lines, headings, |line| {
        let QueueStatus { depth, consumers, slots, .. } = line;
        [
            depth.queue.clone(),
            depth.ready.to_string(),
            depth.delayed.to_string(),
            depth.running.to_string(),
            depth.dead.to_string(),
            depth.oldest_ready_at.map_or_else(|| "-".to_owned(), |at| age(now, at)),
            consumers.to_string(),
            slots.to_string(),
            remarks(line),
        ]
    })?;
    // In JSON they stand in the queues.
    for longest in lines.iter().filter_map(longest).filter(|_| !as_json) {
        output::note(as_json, &longest)?;
    }
    let idle: Vec<_> =
        lines.iter().filter(|line| line.consumers == 0).map(|line| &*line.depth.queue).collect();
    if idle.is_empty() {
        return Ok(());
    }
    output::note(as_json, &format!("no worker consumes: {}", idle.join(", ")))
}

/// Headings of a list of worker processes.
pub(super) const WORKER_HEADINGS: [&str; 9] =
    ["WORKER", "QUEUE", "RELEASE", "SLOTS", "JOBS", "SEEN", "CONTACT", "LEASE", "TROUBLE"];

pub(super) async fn workers(engine: &dyn Admin, config: &Config, as_json: bool) -> Result<()> {
    let lines = inspection::workers(engine.consumers().await?, notes(config).await?);
    let now = Ambient::system().now();
    output::list(as_json, &lines, WORKER_HEADINGS, |line| worker_cells(line, now))
}

/// A worker process in such a list.
pub(super) fn worker_cells(line: &WorkerStatus, now: Timestamp) -> [String; 9] {
    let dash = || "-".to_owned();
    let of_note = |tell: fn(&WorkerNote) -> String| line.note.as_ref().map_or_else(dash, tell);
    let since = |at: Option<Timestamp>| at.map_or_else(dash, |at| age(now, at));
    let lease = |until: Timestamp| if until < now { "run out".to_owned() } else { age(until, now) };
    let worker = line.note.as_ref().map_or(line.name.as_str(), |note| note.worker.as_str());
    [
        one_line(Some(worker)),
        line.queue.clone(),
        of_note(|note| one_line(Some(&note.release))),
        of_note(slots_of),
        line.jobs.to_string(),
        since(line.note.as_ref().map(|note| note.noted_at)),
        since(line.note.as_ref().and_then(|note| note.contact_at)),
        line.alive_until.map_or_else(dash, lease),
        one_line(line.note.as_ref().and_then(|note| note.trouble.as_deref())),
    ]
}

/// Slots in use and in all, and those of the configuration where they are others.
fn slots_of(note: &WorkerNote) -> String {
    let WorkerNote { used, slots, configured, .. } = note;
    if slots == configured { format!("{used}/{slots}") } else { format!("{used}/{slots} (not {configured})") }
}

pub(super) async fn resize(args: ResizeArgs, config: &Config, as_json: bool) -> Result<ExitCode> {
    let ResizeArgs { size: (queue, slots), worker } = args;
    Jobs::open(&config.engines).await?.require_queue(Some(&queue)).await?;
    let ambient = Ambient::system();
    let store = open_job_store(&config.engines, &ambient).await?;
    // Also by the name of its consumer, which has the queue at its end.
    let of_consumer = format!("/{queue}");
    let worker = worker.as_deref().map(|name| name.strip_suffix(of_consumer.as_str()).unwrap_or(name));
    if let Some(worker) = worker.filter(|_| slots.is_some()) {
        let notes = live_notes(store.as_ref(), &ambient).await?;
        let known = notes.iter().filter(|note| note.queue == queue).map(|note| note.worker.as_str());
        let known: BTreeSet<&str> = known.collect();
        if !known.contains(worker) {
            let known: Vec<_> = known.into_iter().collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            bail!("no worker {worker} of {queue}; there are: {known}");
        }
    }
    store.set_size(&queue, worker, slots).await?;
    let answer = json!({ "queue": queue, "worker": worker, "slots": slots });
    output::answer(as_json, &answer, || {
        let process = worker.unwrap_or("each worker process");
        let slots = slots.map_or_else(|| "as many as configured".to_owned(), |slots| slots.to_string());
        format!("{queue}: {slots} at a time in {process}, within seconds\n")
    })?;
    Ok(ExitCode::SUCCESS)
}
