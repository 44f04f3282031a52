//! Command `inspect`: shows queues, jobs, schedules and the outbox without side effects, also while `dev` runs.

use anyhow::{Result, bail};
use base::Ambient;
use jobs::{
    Admin, JobId,
    engine::{InspectedJob, JobFilter, JobState},
    inspection,
    job_store::RunReports,
    records::{AttemptOutcome, AttemptRecord, RecordFilter, RecordStore},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{limits, operations, payment, processes, running, schedules};
use crate::{
    cli::{AttemptsArgs, Inspect, JobsArgs},
    config::Config,
    output::{self, one_line},
    wiring::{Jobs, open_orders, open_reports},
};

/// Most messages listed; what keeps one keeps the others.
const MESSAGES_MAX: u32 = 1000;

pub(super) async fn run(what: Inspect, config: &Config, as_json: bool) -> Result<()> {
    let jobs = Jobs::open(&config.engines).await?;
    let (engine, records) = (jobs.queue.as_ref(), jobs.records.as_ref());
    match what {
        Inspect::Queues => processes::queues(engine, config, as_json).await,
        Inspect::Workers => processes::workers(engine, config, as_json).await,
        Inspect::Limits { name } => limits::show(config, name, as_json).await,
        Inspect::Schedules => schedules::show(jobs, config, as_json).await,
        Inspect::Operations { id } => operations::show(jobs, config, id, as_json).await,
        Inspect::Jobs(args) => {
            jobs.require_queue(args.queue.as_ref()).await?;
            held(engine, records, args, as_json).await
        }
        Inspect::Running(args) => {
            jobs.require_queue(args.queue.as_ref()).await?;
            running::show(engine, config, args, as_json).await
        }
        Inspect::Job { id } => job(engine, records, config, id, as_json).await,
        Inspect::Attempts(args) => {
            jobs.require_queue(args.queue.as_ref()).await?;
            attempts(records, args, as_json).await
        }
        Inspect::Outbox => outbox(config, as_json).await,
        Inspect::Payment { order } => payment::show(order, config, as_json).await,
    }
}

async fn held(engine: &dyn Admin, records: &dyn RecordStore, args: JobsArgs, as_json: bool) -> Result<()> {
    let JobsArgs { queue, state, kind, limit } = args;
    let filter = JobFilter { queue, state, kind, after: None, limit };
    let listing = inspection::list(engine, records, &filter, Ambient::system().now()).await?;
    let mut lines = listing.jobs.iter().map(JobLine::of_job).collect::<Result<Vec<_>, _>>()?;
    lines.extend(listing.logged.iter().map(JobLine::of_record));
    let headings = ["ID", "KIND", "QUEUE", "STATE", "DUE", "ATTEMPTS", "LAST ERROR"];
    output::list(as_json, &lines, headings, |line| line.cells.clone())?;
    let engine = engine.name();
    for (queue, ready) in listing.unlisted {
        output::note(
            as_json,
            &format!("{queue}: {ready} ready not listed, as {engine} cannot search a queue"),
        )?;
    }
    match listing.short_delays {
        0 => Ok(()),
        more => {
            output::note(as_json, &format!("{more} jobs of any queue delayed by a minute at most not listed"))
        }
    }
}

/// A job of a listing.
#[derive(Serialize)]
#[serde(transparent)]
struct JobLine {
    json: Value,
    #[serde(skip)]
    cells: [String; 7],
}

impl JobLine {
    fn of_job(job: &InspectedJob) -> serde_json::Result<Self> {
        let envelope = &job.envelope;
        let due = envelope.run_at.filter(|_| job.state == JobState::Delayed);
        let due = job.behind.map_or_else(
            || due.map_or_else(|| "-".to_owned(), |due| due.to_string()),
            |head| format!("after {head}"),
        );
        let cells = [
            envelope.id.to_string(),
            envelope.kind.clone(),
            envelope.queue.clone(),
            name(job.state),
            due,
            format!("{}/{}", envelope.attempt, envelope.max_attempts),
            one_line(job.last_error.as_deref()),
        ];
        Ok(Self { json: serde_json::to_value(job)?, cells })
    }

    /// A job that waits for its next attempt, of which the log tells no more than this.
    fn of_record(last: &AttemptRecord) -> Self {
        let AttemptRecord { job, kind, queue, subject, attempt, created_at, error, .. } = last;
        let cells = [
            job.to_string(),
            kind.clone(),
            queue.clone(),
            name(JobState::Delayed),
            "in a minute at most".to_owned(),
            format!("{attempt}/?"),
            one_line(error.as_deref()),
        ];
        let envelope = json!({
            "id": job, "kind": kind, "queue": queue, "subject": subject, "attempt": attempt, "created_at": created_at,
        });
        let json =
            json!({ "envelope": envelope, "state": JobState::Delayed, "last_error": error, "dead": null });
        Self { json, cells }
    }
}

async fn job(
    engine: &dyn Admin,
    records: &dyn RecordStore,
    config: &Config,
    id: JobId,
    as_json: bool,
) -> Result<()> {
    let reports = open_reports(&config.engines, &Ambient::system()).await?;
    let reports = reports.as_deref().map(|store| store as &dyn RunReports);
    let found = inspection::history(engine, records, reports, id).await?;
    let lists_ready = engine.capabilities().lists_ready;
    if found.is_unknown() {
        let ready = if lists_ready {
            ""
        } else {
            "; or it waits for its first attempt where jobs cannot be searched"
        };
        bail!("no job {id}: it was never here, or ended so long ago that its record has expired{ready}");
    }
    if as_json {
        return output::json(&found);
    }
    describe(id, found.held.as_ref(), &found.attempts, lists_ready)?;
    found.report.as_ref().map_or(Ok(()), running::describe)?;
    list_attempts(&found.attempts, as_json)
}

fn describe(
    id: JobId,
    held: Option<&InspectedJob>,
    attempts: &[AttemptRecord],
    lists_ready: bool,
) -> Result<()> {
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
        if let Some(head) = held.behind {
            lines.push(("behind", format!("{head}, which holds its order key")));
        }
        if let Some(dead) = &held.dead {
            lines.push(("dead", format!("{} at {}", dead.reason.as_str(), dead.died_at)));
        }
    } else if let Some(last) = attempts.last() {
        use AttemptOutcome::{Retried, Snoozed, Stale};
        let waits = matches!(last.outcome, Retried | Snoozed | Stale);
        let state = if waits && !lists_ready { "ready or delayed, after" } else { "ended:" };
        lines.extend([
            ("kind", last.kind.clone()),
            ("queue", last.queue.clone()),
            ("state", format!("{state} {}", name(last.outcome))),
        ]);
    }
    lines.into_iter().try_for_each(|(label, value)| output::text(&format!("{label:<11} {value}\n")))
}

async fn attempts(records: &dyn RecordStore, args: AttemptsArgs, as_json: bool) -> Result<()> {
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

fn list_attempts(attempts: &[AttemptRecord], as_json: bool) -> Result<()> {
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

async fn outbox(config: &Config, as_json: bool) -> Result<()> {
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
