//! Command `inspect running`, and the reports of runs for `inspect job`: progress, log lines, result.

use anyhow::Result;
use base::{Ambient, Timestamp};
use jobs::{
    Admin, JobId,
    engine::JobFilter,
    inspection::{self, RunningJob, live_notes},
    job_store::{Progress, RunReport, RunReports, WorkerNote},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    cli::RunningArgs,
    config::Config,
    output::{self, age, one_line},
    wiring::open_reports,
};

/// A running job as lists show it, without its payload.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RunningRow {
    pub(super) id: JobId,
    pub(super) kind: String,
    pub(super) queue: String,
    /// Number of the attempt, from 1.
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
    pub(super) worker: Option<String>,
    /// Start of the run; a second late at most where its code has reported nothing.
    pub(super) since: Option<Timestamp>,
    pub(super) progress: Option<Progress>,
}

impl RunningRow {
    pub(super) const HEADINGS: [&str; 8] =
        ["ID", "KIND", "QUEUE", "ATTEMPT", "WORKER", "AGE", "PROGRESS", "MESSAGE"];

    pub(super) fn new(running: &RunningJob, notes: &[WorkerNote]) -> Self {
        let RunningJob { job, report } = running;
        let envelope = &job.envelope;
        // A report knows the start; the note of a process, the time at which it has noticed the run.
        let noted = notes.iter().find_map(|note| {
            let run = note.runs.iter().find(|run| run.job == envelope.id)?;
            Some((note.worker.as_str(), run.since))
        });
        let reported = report.as_ref().map(|report| (report.worker.as_str(), report.started_at));
        let (worker, since) = reported.or(noted).unzip();
        Self {
            id: envelope.id,
            kind: envelope.kind.clone(),
            queue: envelope.queue.clone(),
            attempt: envelope.attempt.saturating_add(1),
            max_attempts: envelope.max_attempts,
            worker: worker.map(str::to_owned),
            since,
            progress: report.as_ref().and_then(|report| report.progress.clone()),
        }
    }

    pub(super) fn cells(&self, now: Timestamp) -> [String; 8] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let progress = self.progress.as_ref();
        [
            self.id.to_string(),
            self.kind.clone(),
            self.queue.clone(),
            format!("{}/{}", self.attempt, self.max_attempts),
            or_dash(self.worker.as_deref().map(|worker| one_line(Some(worker)))),
            or_dash(self.since.map(|since| age(now, since))),
            or_dash(progress.map(|progress| format!("{} %", progress.percent))),
            one_line(progress.map(|progress| progress.message.as_str())),
        ]
    }
}

/// A running job of the list.
#[derive(Serialize)]
#[serde(transparent)]
struct RunningLine {
    json: Value,
    #[serde(skip)]
    cells: [String; 8],
}

pub(super) async fn show(
    engine: &dyn Admin,
    config: &Config,
    args: RunningArgs,
    as_json: bool,
) -> Result<()> {
    let ambient = Ambient::system();
    let RunningArgs { queue, kind, limit } = args;
    let filter = JobFilter { queue, kind, limit, ..JobFilter::default() };
    let reports = open_reports(&config.engines, &ambient).await?;
    let store = reports.as_deref();
    let running = inspection::running(engine, store.map(|store| store as &dyn RunReports), &filter).await?;
    let notes = match store {
        Some(store) => live_notes(store, &ambient).await?,
        None => Vec::new(),
    };
    let lines = running.iter().map(|job| line(job, &notes, &ambient)).collect::<Result<Vec<_>>>()?;
    output::list(as_json, &lines, RunningRow::HEADINGS, |line| line.cells.clone())
}

fn line(running: &RunningJob, notes: &[WorkerNote], ambient: &Ambient) -> Result<RunningLine> {
    let row = RunningRow::new(running, notes);
    let mut json = serde_json::to_value(&running.job)?;
    json["worker"] = serde_json::to_value(&row.worker)?;
    json["since"] = serde_json::to_value(row.since)?;
    json["report"] = serde_json::to_value(&running.report)?;
    Ok(RunningLine { json, cells: row.cells(ambient.now()) })
}

/// Prints the report of a job below its description.
pub(super) fn describe(report: &RunReport) -> Result<()> {
    let ended = report.ended_at.map_or_else(|| "goes on, or crashed".to_owned(), |at| format!("ended {at}"));
    let mut lines = vec![
        ("reported", format!("{} by {}", report.reported_at, one_line(Some(&report.worker)))),
        ("by run", format!("attempt {}, began {}, {ended}", report.attempt, report.started_at)),
    ];
    if let Some(progress) = &report.progress {
        lines.push(("progress", format!("{} % {}", progress.percent, one_line(Some(&progress.message)))));
    }
    if let Some(result) = &report.result {
        lines.push(("result", one_line(Some(result.get()))));
    }
    if report.lines_dropped > 0 {
        lines.push(("log", format!("{} earlier lines dropped", report.lines_dropped)));
    }
    for line in &report.log {
        lines.push(("log", format!("{} {}", line.at, one_line(Some(&line.text)))));
    }
    lines.into_iter().try_for_each(|(label, value)| output::text(&format!("{label:<11} {value}\n")))
}
