//! `migrate`: gives queues of an earlier release today's shape, with the jobs in them.

use serde_json::json;

use crate::{cli::MigrateArgs, config::Config, engines::Jobs, output};

pub(super) async fn run(args: MigrateArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let jobs = Jobs::open(config).await?;
    let all = || config.workers.queues.iter().map(|(name, _)| name.clone()).collect();
    let mut moved = Vec::new();
    for queue in args.queue.map_or_else(all, |queue| vec![queue]) {
        let jobs = jobs.queue.migrate_queue(&queue).await?;
        moved.push(json!({ "queue": queue, "jobs_moved": jobs }));
    }
    if as_json {
        return output::json(&json!({ "queues": moved }));
    }
    let lines = moved.iter().map(|queue| format!("{}: {} jobs moved\n", queue["queue"], queue["jobs_moved"]));
    output::text(&lines.collect::<String>())
}
