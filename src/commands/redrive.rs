//! Command `redrive`: returns dead jobs to their queues, filtered, at a bounded rate, with a preview.
//!
//! Guarantees: it takes the jobs that were dead when it began, each at most once, and ends; a job that dies again
//! meanwhile stays dead. Tells on standard error after each slice how many were redriven.

use std::time::Duration;

use base::Ambient;
use jobs::{Admin, JobId, engine::DeadFilter};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::{cli::RedriveArgs, config::Config, output, wiring::Jobs};

pub(super) async fn run(args: RedriveArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let jobs = Jobs::open(&config.engines).await?;
    jobs.require_queue(args.queue.as_ref()).await?;
    let now = Ambient::system().now();
    let filter = DeadFilter {
        queue: args.queue,
        kind: args.kind,
        reason: args.reason,
        error_contains: args.error,
        since: args.since.and_then(|span| now.checked_sub(span).ok()),
        died_before: Some(now),
        after: None,
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

/// Redrives as many a second as the filter's limit says, so that many dead jobs do not become many failing jobs at
/// once. Each queue is taken from its first id to its last: clocks of workers may differ, ids do not change.
async fn redrive_at_rate(engine: &dyn Admin, filter: &DeadFilter) -> anyhow::Result<Vec<JobId>> {
    let queues = match &filter.queue {
        Some(queue) => vec![queue.clone()],
        None => engine.queues().await?,
    };
    let (mut ids, mut room) = (Vec::new(), filter.limit);
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    for queue in queues {
        let mut page = DeadFilter { queue: Some(queue), ..filter.clone() };
        loop {
            if room == 0 {
                tick.tick().await;
                room = filter.limit;
            }
            page.limit = room;
            let slice = engine.redrive(&page).await?;
            let count = u32::try_from(slice.len()).unwrap_or(u32::MAX);
            (page.after, room) = (slice.last().copied().or(page.after), room.saturating_sub(count));
            ids.extend(slice);
            if count > 0 && !filter.dry_run {
                output::remark(&format!("{} dead jobs redriven", ids.len()));
            }
            if count < page.limit {
                break;
            }
        }
    }
    Ok(ids)
}
