//! Commands `jobs check` and `jobs golden`: whether this release reads the jobs that wait, and the golden payloads of
//! the one before. Prints nothing of a payload that waits.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use jobs::{
    Envelope, Registry,
    payload_gate::{self, Checked},
    registry::{RegisterError, Unreadable},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use workers::{
    Env,
    golden::GOLDEN,
    housekeeping::HousekeepingEnv,
    queues::HOUSEKEEPING,
    registry::{housekeeping_registry, registry},
};

use crate::{
    cli::{CheckArgs, JobsCommand},
    config::Config,
    output::{self, one_line},
    wiring::Jobs,
};

pub(super) async fn run(what: JobsCommand, config: &Config, as_json: bool) -> Result<ExitCode> {
    match what {
        JobsCommand::Check(args) => check(args, config, as_json).await,
        JobsCommand::Golden => {
            output::json(&golden_of_this_release()?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn check(args: CheckArgs, config: &Config, as_json: bool) -> Result<ExitCode> {
    let registries = Registries::new()?;
    let golden = args.golden.as_deref().map_or_else(|| Ok(Vec::new()), read_golden)?;
    let jobs = Jobs::open(&config.engines).await?;
    let engine = jobs.queue.as_ref();
    let checked = payload_gate::check(engine, |envelope| registries.check(envelope), args.sample).await?;
    let golden_unreadable: Vec<_> =
        golden.iter().filter_map(|payload| registries.check_golden(payload)).collect();
    let passed = checked.is_passed() && golden_unreadable.is_empty();
    let report = CheckReport { passed, golden: golden.len(), golden_unreadable, checked };
    if as_json {
        output::json(&report)?;
    } else {
        tell(&report, engine.name())?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The registries of the workers and of the schedulers.
struct Registries {
    shop: Registry<Env>,
    house: Registry<HousekeepingEnv>,
}

impl Registries {
    fn new() -> Result<Self, RegisterError> {
        Ok(Self { shop: registry()?, house: housekeeping_registry()? })
    }

    fn check(&self, envelope: &Envelope) -> Result<(), Unreadable> {
        if envelope.queue == HOUSEKEEPING { self.house.check(envelope) } else { self.shop.check(envelope) }
    }

    fn check_golden(&self, golden: &GoldenPayload) -> Option<UnreadableGolden> {
        let GoldenPayload { kind, version, payload } = golden;
        let read = match self.shop.check_payload(kind, *version, payload.get()) {
            Err(Unreadable::UnknownKind) => self.house.check_payload(kind, *version, payload.get()),
            read => read,
        };
        let error = read.err()?.to_string();
        Some(UnreadableGolden { kind: kind.clone(), version: *version, error })
    }
}

/// A golden payload in a file.
#[derive(Serialize, Deserialize)]
struct GoldenPayload {
    kind: String,
    version: u16,
    payload: Box<RawValue>,
}

fn golden_of_this_release() -> serde_json::Result<Vec<GoldenPayload>> {
    let payloads = GOLDEN.iter().map(|golden| {
        let (kind, payload) = (golden.kind.to_owned(), serde_json::from_str(golden.payload)?);
        Ok(GoldenPayload { kind, version: golden.version, payload })
    });
    payloads.collect()
}

fn read_golden(file: &Path) -> Result<Vec<GoldenPayload>> {
    let why = || format!("cannot read golden payloads from {}", file.display());
    let text = fs::read_to_string(file).with_context(why)?;
    serde_json::from_str(&text).with_context(why)
}

#[derive(Serialize)]
struct CheckReport {
    passed: bool,
    /// Number of golden payloads.
    golden: usize,
    golden_unreadable: Vec<UnreadableGolden>,
    #[serde(flatten)]
    checked: Checked,
}

#[derive(Serialize)]
struct UnreadableGolden {
    kind: String,
    version: u16,
    error: String,
}

fn tell(report: &CheckReport, engine: &str) -> Result<()> {
    let CheckReport { passed, golden, golden_unreadable, checked } = report;
    let mut rows: Vec<[String; 7]> = Vec::new();
    for group in &checked.unreadable {
        rows.push([
            one_line(Some(&group.kind)),
            group.version.to_string(),
            group.count.to_string(),
            group.example.to_string(),
            group.state.as_str().to_owned(),
            group.queue.clone(),
            one_line(Some(&group.error)),
        ]);
    }
    for payload in golden_unreadable {
        let UnreadableGolden { kind, version, error } = payload;
        let [kind, error] = [kind, error].map(|text| one_line(Some(text)));
        let [example, state, queue] = ["-", "golden", "-"].map(str::to_owned);
        rows.push([kind, version.to_string(), "1".to_owned(), example, state, queue, error]);
    }
    if !passed {
        let headings = ["KIND", "VERSION", "JOBS", "EXAMPLE", "STATE", "QUEUE", "ERROR"];
        output::list(false, &rows, headings, Clone::clone)?;
    }
    let mut notes = Vec::new();
    if checked.ungrouped > 0 {
        notes.push(format!("{} more of further kinds, versions or reasons", checked.ungrouped));
    }
    for queue in &checked.unread {
        let why = format!("as {engine} cannot search a queue");
        notes.push(format!("{}: {} ready not read, {why}; see --sample", queue.queue, queue.ready));
    }
    if checked.short_delays > 0 {
        notes
            .push(format!("{} jobs of any queue delayed by a minute at most not read", checked.short_delays));
    }
    if checked.dead_before > 0 {
        notes.push(format!("{} dead jobs were unreadable when they died", checked.dead_before));
    }
    let said = if *passed { "all readable" } else { "not all readable" };
    notes.push(format!("{said}: {} jobs, {golden} golden payloads", checked.read));
    notes.iter().try_for_each(|note| output::text(&format!("{note}\n")))
}
