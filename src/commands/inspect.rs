//! Command `inspect`: shows queues, jobs and the outbox without side effects, also while `dev` runs.

use anyhow::bail;
use base::{Ambient, Timestamp};
use jobs::{
    Admin, JobId,
    engine::{InspectedJob, JobFilter},
    records::{AttemptRecord, RecordFilter, RecordStore},
};
use serde_json::json;

use super::payment;
use crate::{
    cli::{AttemptsArgs, Inspect, JobsArgs},
    config::Config,
    output,
    wiring::{Jobs, open_orders},
};

/// Most messages listed; what keeps one keeps the others.
const MESSAGES_MAX: u32 = 1000;

pub(super) async fn run(what: Inspect, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let jobs = Jobs::open(&config.engines).await?;
    let (engine, records) = (jobs.queue.as_ref(), jobs.records.as_ref());
    match what {
        Inspect::Queues => queues(engine, as_json).await,
        Inspect::Workers => workers(engine, as_json).await,
        Inspect::Jobs(args) => held(engine, args, as_json).await,
        Inspect::Job { id } => job(engine, records, id, as_json).await,
        Inspect::Attempts(args) => attempts(records, args, as_json).await,
        Inspect::Outbox => outbox(config, as_json).await,
        Inspect::Payment { order } => payment::show(order, config, as_json).await,
    }
}

async fn queues(engine: &dyn Admin, as_json: bool) -> anyhow::Result<()> {
    let mut depths = Vec::new();
    for queue in engine.queues().await? {
        depths.push(engine.depth(&queue).await?);
    }
    let now = Ambient::system().now();
    let headings = ["QUEUE", "READY", "DELAYED", "RUNNING", "DEAD", "OLDEST", ""];
    output::list(as_json, &depths, headings, |depth| {
        [
            depth.queue.clone(),
            depth.ready.to_string(),
            depth.delayed.to_string(),
            depth.running.to_string(),
            depth.dead.to_string(),
            depth.oldest_ready_at.map_or_else(|| "-".to_owned(), |at| age(now, at)),
            if depth.paused { "paused".to_owned() } else { String::new() },
        ]
    })
}

async fn workers(engine: &dyn Admin, as_json: bool) -> anyhow::Result<()> {
    let consumers = engine.consumers().await?;
    let now = Ambient::system().now();
    output::list(as_json, &consumers, ["WORKER", "QUEUE", "JOBS", "LEASE"], |c| {
        let lease = if c.alive_until < now { "run out".to_owned() } else { age(c.alive_until, now) };
        [c.name.clone(), c.queue.clone(), c.jobs.to_string(), lease]
    })
}

async fn held(engine: &dyn Admin, args: JobsArgs, as_json: bool) -> anyhow::Result<()> {
    let JobsArgs { queue, state, kind, limit } = args;
    let filter = JobFilter { queue, state, kind, after: None, limit };
    let held = engine.list(&filter).await?;
    output::list(as_json, &held, ["ID", "KIND", "QUEUE", "STATE", "ATTEMPTS", "LAST ERROR"], |job| {
        [
            job.envelope.id.to_string(),
            job.envelope.kind.clone(),
            job.envelope.queue.clone(),
            name(job.state),
            format!("{}/{}", job.envelope.attempt, job.envelope.max_attempts),
            one_line(job.last_error.as_deref()),
        ]
    })
}

async fn job(engine: &dyn Admin, records: &dyn RecordStore, id: JobId, as_json: bool) -> anyhow::Result<()> {
    let held = engine.find(id).await?;
    let filter = RecordFilter { job: Some(id), limit: 1000, ..RecordFilter::default() };
    let mut attempts = records.list(&filter).await?;
    attempts.reverse();
    if held.is_none() && attempts.is_empty() {
        bail!("no job {id}: it was never here, or ended so long ago that its record has expired");
    }
    if as_json {
        return output::json(&json!({ "id": id, "held": held, "attempts": attempts }));
    }
    describe(id, held.as_ref(), &attempts)?;
    list_attempts(&attempts, as_json)
}

fn describe(id: JobId, held: Option<&InspectedJob>, attempts: &[AttemptRecord]) -> anyhow::Result<()> {
    let mut lines = vec![("id", id.to_string())];
    if let Some(held) = held {
        let envelope = &held.envelope;
        lines.extend([
            ("kind", envelope.kind.clone()),
            ("queue", format!("{} ({})", envelope.queue, envelope.priority)),
            ("state", name(held.state)),
            ("attempts", format!("{} of {} used", envelope.attempt, envelope.max_attempts)),
            ("crashes", held.crashes.to_string()),
            ("run at", envelope.run_at.map_or_else(|| "-".to_owned(), |at| at.to_string())),
            ("last error", one_line(held.last_error.as_deref())),
        ]);
        if let Some(dead) = &held.dead {
            lines.push(("dead", format!("{} at {}", dead.reason.as_str(), dead.died_at)));
        }
    } else if let Some(last) = attempts.last() {
        lines.extend([
            ("kind", last.kind.clone()),
            ("queue", last.queue.clone()),
            ("state", format!("ended: {}", name(last.outcome))),
        ]);
    }
    lines.into_iter().try_for_each(|(label, value)| output::text(&format!("{label:<11} {value}\n")))
}

async fn attempts(records: &dyn RecordStore, args: AttemptsArgs, as_json: bool) -> anyhow::Result<()> {
    let filter = RecordFilter {
        subject: args.order,
        queue: args.queue,
        kind: args.kind,
        outcome: args.outcome,
        limit: args.limit,
        ..RecordFilter::default()
    };
    list_attempts(&records.list(&filter).await?, as_json)
}

fn list_attempts(attempts: &[AttemptRecord], as_json: bool) -> anyhow::Result<()> {
    output::list(as_json, attempts, ["JOB", "KIND", "ATTEMPT", "STARTED", "TOOK", "OUTCOME", "ERROR"], |a| {
        [
            a.job.to_string(),
            a.kind.clone(),
            a.attempt.to_string(),
            a.started_at.to_string(),
            format!("{:.1} ms", a.duration.as_secs_f64() * 1e3),
            name(a.outcome),
            one_line(a.error.as_deref()),
        ]
    })
}

async fn outbox(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let messages = open_orders(config, &Ambient::system()).await?.list_set_aside(MESSAGES_MAX).await?;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    output::list(as_json, &messages, ["ID", "MERCHANT", "ORDER", "KIND", "WRITTEN", "ERROR"], |message| {
        [
            message.id.clone(),
            or_dash(message.merchant.map(|id| id.to_string())),
            or_dash(message.order.map(|id| id.to_string())),
            one_line(Some(&message.kind)),
            or_dash(message.at.map(|at| at.to_string())),
            message
                .error
                .as_deref()
                .map_or_else(|| "this release reads it".to_owned(), |e| one_line(Some(e))),
        ]
    })
}

/// The serde name of a plain enum.
fn name(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn age(now: Timestamp, at: Timestamp) -> String {
    format!("{:.1} s", now.duration_since(at).as_secs_f64())
}

/// The error on one line of at most 200 characters. Control characters never reach the terminal.
fn one_line(text: Option<&str>) -> String {
    text.unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
