//! Command `redrive`: returns dead jobs to their queues, filtered, at a bounded rate, with a preview.

use std::time::Duration;

use base::Ambient;
use jobs::{Admin, engine::DeadFilter};
use serde_json::json;

use crate::{cli::RedriveArgs, config::Config, output, wiring::Jobs};

pub(super) async fn run(args: RedriveArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let jobs = Jobs::open(&config.engines).await?;
    jobs.require_queue(args.queue.as_ref()).await?;
    let since = args.since.and_then(|span| Ambient::system().now().checked_sub(span).ok());
    let filter = DeadFilter {
        queue: args.queue,
        kind: args.kind,
        reason: args.reason,
        error_contains: args.error,
        since,
        // A preview moves nothing, so it needs no rate.
        limit: if args.dry_run { u32::MAX } else { args.rate },
        dry_run: args.dry_run,
    };
    let ids = redrive_at_rate(jobs.queue.as_ref(), &filter).await?;
    if as_json {
        return output::json(&json!({ "dry_run": args.dry_run, "count": ids.len(), "jobs": ids }));
    }
    for id in &ids {
        output::text(&format!("{id}\n"))?;
    }
    let verb = if args.dry_run { "would be redriven" } else { "redriven" };
    output::text(&format!("{} dead jobs {verb}\n", ids.len()))
}

/// Redrives one slice per second, so that many dead jobs do not become many failing jobs at once.
async fn redrive_at_rate(engine: &dyn Admin, filter: &DeadFilter) -> anyhow::Result<Vec<jobs::JobId>> {
    let mut ids = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        let slice = engine.redrive(filter).await?;
        let last = slice.len() < filter.limit as usize;
        ids.extend(slice);
        if last {
            return Ok(ids);
        }
    }
}
