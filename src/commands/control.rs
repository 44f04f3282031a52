//! Command `control`: changes queues, jobs, the shards of merchants and what counts as settled. Works whether `dev`
//! runs or not.

use std::process::ExitCode;

use anyhow::bail;
use jobs::{Admin, engine::Cancelled};
use serde_json::{Value, json};

use super::{move_merchant, settle};
use crate::{
    cli::{Control, JobControl},
    config::Config,
    output,
    wiring::Jobs,
};

/// Exit status 1 if the named job does not exist.
pub(super) async fn run(what: Control, config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let what = match what {
        Control::Jobs(what) => what,
        Control::MoveMerchant(args) => return move_merchant::run(args, config, as_json).await,
        Control::Settle { order, note } => return settle::run(order, note, config, as_json).await,
    };
    let jobs = Jobs::open(&config.engines).await?;
    let (found, said, answer) = act(what, jobs.queue.as_ref()).await?;
    output::answer(as_json, &answer, || format!("{said}\n"))?;
    Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn act(what: JobControl, engine: &dyn Admin) -> anyhow::Result<(bool, String, Value)> {
    Ok(match what {
        JobControl::Pause { queue } => {
            engine.pause(&queue).await?;
            (true, format!("{queue} is paused"), json!({ "queue": queue, "paused": true }))
        }
        JobControl::Resume { queue } => {
            engine.resume(&queue).await?;
            (true, format!("{queue} is resumed"), json!({ "queue": queue, "paused": false }))
        }
        JobControl::Purge { queue, yes: true } => {
            let dropped = engine.purge(&queue).await?;
            (
                true,
                format!("{dropped} jobs dropped from {queue}"),
                json!({ "queue": queue, "dropped": dropped }),
            )
        }
        JobControl::Purge { queue, yes: false } => {
            let depth = engine.depth(&queue).await?;
            let waiting = depth.ready + depth.delayed;
            bail!("this would drop {waiting} waiting jobs of {queue} for good; repeat it with --yes")
        }
        JobControl::Cancel { id, reason } => {
            let (found, word) = match engine.cancel(id, &reason).await? {
                Cancelled::Removed => (true, "cancelled"),
                Cancelled::Requested => (true, "cancel_requested"),
                Cancelled::NotFound => (false, "not_found"),
            };
            (found, format!("{id}: {}", word.replace('_', " ")), json!({ "id": id, "result": word }))
        }
        JobControl::Retry { id } => {
            let found = engine.retry_now(id).await?;
            let word = if found { "ready" } else { "not_found" };
            (found, format!("{id}: {}", word.replace('_', " ")), json!({ "id": id, "result": word }))
        }
    })
}
