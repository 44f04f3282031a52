//! Command `redrive`: a bulk operation that returns dead jobs to their queues and is carried out here, at a bounded
//! rate; or a preview of all of them.
//!
//! Guarantees: it takes the jobs that were dead when it began, each at most once, and ends; a job that dies again
//! meanwhile stays dead. Tells on standard error after each step how many were redriven. Killed, it is continued by a
//! scheduler.

use base::{Ambient, time::earlier};
use jobs::{
    Admin,
    bulk::{BulkFilter, JOBS, OperationError, Plan, Verb},
    engine::{DeadFilter, EngineError},
};
use serde_json::json;

use super::operations::{Opened, user};
use crate::{cli::RedriveArgs, config::Config, output};

pub(super) async fn run(args: RedriveArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let opened = Opened::open(config).await?;
    opened.jobs.require_queue(args.queue.as_ref()).await?;
    let is_dry = args.dry_run;
    let ids = if is_dry {
        preview(opened.jobs.queue.as_ref(), args, &opened.ambient).await?
    } else {
        redrive(&opened, args).await?
    };
    if as_json {
        return output::json(&json!({ "dry_run": is_dry, "count": ids.len(), "jobs": ids }));
    }
    for id in &ids {
        output::text(&format!("{id}\n"))?;
    }
    let verb = if is_dry { "would be redriven" } else { "redriven" };
    output::text(&format!("{} dead jobs {verb}\n", ids.len()))
}

async fn redrive(opened: &Opened, args: RedriveArgs) -> anyhow::Result<Vec<String>> {
    let now = opened.ambient.now();
    let filter = BulkFilter {
        queue: args.queue,
        kind: args.kind,
        reason: args.reason,
        error_contains: args.error,
        since: args.since.map(|span| earlier(now, span)),
        ..BulkFilter::default()
    };
    let plan = Plan { filter, rate: args.rate, ..Plan::new(JOBS, Verb::Redrive, user(), "command redrive") };
    let id = match opened.admin().preview(plan).await {
        Err(OperationError::NothingMatches(_)) => return Ok(Vec::new()),
        previewed => previewed?.id,
    };
    let (operation, ids) = opened.carry_out(id, |done| format!("{done} dead jobs redriven")).await?;
    if operation.counts.skipped + operation.counts.failed > 0 {
        output::remark(&format!("some were not redriven: orderworks inspect operations {id}"));
    }
    Ok(ids)
}

/// Ids of the jobs that would be redriven.
async fn preview(
    engine: &dyn Admin,
    args: RedriveArgs,
    ambient: &Ambient,
) -> Result<Vec<String>, EngineError> {
    let queues = match args.queue {
        Some(queue) => vec![queue],
        None => engine.queues().await?,
    };
    let now = ambient.now();
    let filter = DeadFilter {
        kind: args.kind,
        reason: args.reason,
        error_contains: args.error,
        since: args.since.map(|span| earlier(now, span)),
        died_before: Some(now),
        limit: u32::MAX,
        dry_run: true,
        ..DeadFilter::default()
    };
    let mut ids = Vec::new();
    for queue in queues {
        let found = engine.redrive(&DeadFilter { queue: Some(queue), ..filter.clone() }).await?;
        ids.extend(found.iter().map(ToString::to_string));
    }
    Ok(ids)
}
