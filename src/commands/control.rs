//! Command `control`: changes queues, jobs, schedules, customers, the shards of merchants and what counts as settled.
//! Works whether `dev` runs or not. Changes of many jobs at once are in `operations`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use base::Ambient;
use jobs::{
    Admin, JobId,
    engine::{Cancelled, DeadFilter, JobState},
    records::{AttemptOutcome, RecordFilter, RecordStore},
};
use serde_json::{Value, json};

use super::{customers, move_merchant, operations, processes, schedules, settle};
use crate::{
    cli::{Control, JobControl},
    config::Config,
    output,
    wiring::Jobs,
};

/// What is told of a dead job that cannot be cancelled.
const IS_DEAD: &str =
    "it is dead: `control retry` runs it again, `control drop` deletes dead jobs of a queue";

/// An error if the named job does not exist; then the exit status is 1.
pub(super) async fn run(what: Control, config: &Config, as_json: bool) -> Result<ExitCode> {
    let what = match what {
        Control::Jobs(what) => what,
        Control::Schedules(what) => return schedules::control(what, config, as_json).await,
        Control::Resize(args) => return processes::resize(args, config, as_json).await,
        Control::Bulk(what) => return Box::pin(operations::control(*what, config, as_json)).await,
        Control::Customer(what) => return customers::run(what, config, as_json).await,
        Control::MoveMerchant(args) => return move_merchant::run(args, config, as_json).await,
        Control::Settle { order, note } => return settle::run(order, note, config, as_json).await,
    };
    let jobs = Jobs::open(&config.engines).await?;
    if let JobControl::Drop { queue, .. } = &what {
        jobs.require_queue(Some(queue)).await?;
    }
    let (said, answer) = act(what, jobs.queue.as_ref(), jobs.records.as_ref()).await?;
    output::answer(as_json, &answer, || format!("{said}\n"))?;
    Ok(ExitCode::SUCCESS)
}

async fn act(what: JobControl, engine: &dyn Admin, records: &dyn RecordStore) -> Result<(String, Value)> {
    Ok(match what {
        JobControl::Pause { queue } => {
            engine.pause(&queue).await?;
            (format!("{queue} is paused"), json!({ "queue": queue, "paused": true }))
        }
        JobControl::Resume { queue } => {
            engine.resume(&queue).await?;
            (format!("{queue} is resumed"), json!({ "queue": queue, "paused": false }))
        }
        JobControl::Purge { queue, yes: true } => {
            let dropped = engine.purge(&queue).await?;
            (format!("{dropped} jobs dropped from {queue}"), json!({ "queue": queue, "dropped": dropped }))
        }
        JobControl::Purge { queue, yes: false } => {
            let depth = engine.depth(&queue).await?;
            let waiting = depth.ready + depth.delayed;
            bail!("this would drop {waiting} waiting jobs of {queue} for good; repeat it with --yes")
        }
        JobControl::Cancel { id, reason } => {
            let (word, said) = cancel(engine, records, id, &reason).await?;
            (format!("{id}: {said}"), json!({ "id": id, "result": word }))
        }
        JobControl::Drop { queue, kind, before, dry_run } => {
            let now = Ambient::system().now();
            // Jobs that die meanwhile stay, so that the command ends.
            let died_before = Some(before.map_or(now, |before| before.min(now)));
            let of_queue = Some(queue.clone());
            let filter = DeadFilter {
                queue: of_queue,
                kind,
                died_before,
                limit: u32::MAX,
                dry_run,
                ..DeadFilter::default()
            };
            let dropped = drop_dead(engine, &filter).await?;
            let verb = if dry_run { "would be dropped" } else { "dropped" };
            let answer = json!({ "queue": queue, "dropped": dropped, "dry_run": dry_run });
            (format!("{dropped} dead jobs {verb} from {queue}"), answer)
        }
        JobControl::Retry { id } => {
            retry(engine, records, id).await?;
            (format!("{id}: ready"), json!({ "id": id, "result": "ready" }))
        }
    })
}

/// Deletes matching dead jobs in slices, with a line on standard error after each; returns how many, or in a dry run
/// how many match.
async fn drop_dead(engine: &dyn Admin, filter: &DeadFilter) -> Result<u64> {
    if filter.dry_run {
        return Ok(engine.drop_dead(filter).await?);
    }
    let mut dropped = 0;
    loop {
        let slice = engine.drop_dead(filter).await?;
        if slice == 0 {
            return Ok(dropped);
        }
        dropped += slice;
        output::remark(&format!("{dropped} dead jobs dropped"));
    }
}

/// Makes a job ready, or says why not.
async fn retry(engine: &dyn Admin, records: &dyn RecordStore, id: JobId) -> Result<()> {
    if engine.retry_now(id).await? {
        return Ok(());
    }
    if engine.find(id).await?.is_some_and(|held| held.state == JobState::Dead) {
        bail!("job {id} stays dead: it cannot be read, or is being redriven");
    }
    let known = known(engine, records, id).await?;
    let unknown = if engine.capabilities().lists_ready { "unknown here" } else { "unknown here, or ready" };
    bail!("no delayed or dead job {id} ({})", known.unwrap_or_else(|| unknown.to_owned()))
}

/// Cancels a job; returns the result as a word and as a text.
async fn cancel(
    engine: &dyn Admin,
    records: &dyn RecordStore,
    id: JobId,
    reason: &str,
) -> Result<(&'static str, &'static str)> {
    match engine.cancel(id, reason).await? {
        Cancelled::Removed => return Ok(("cancelled", "cancelled")),
        Cancelled::NotFound => {
            let known = known(engine, records, id).await?;
            bail!("no job {id} to cancel ({})", known.unwrap_or_else(|| "unknown here".to_owned()));
        }
        Cancelled::Requested => {}
    }
    match engine.find(id).await?.map(|held| held.state) {
        Some(JobState::Dead) => bail!("no job {id} to cancel ({IS_DEAD})"),
        Some(_) => return Ok(("cancel_requested", "cancel requested; it runs and is asked to end")),
        None => {}
    }
    if let Some(ended) = ended(records, id).await? {
        bail!("no job {id} to cancel ({ended})");
    }
    Ok((
        "cancel_requested",
        "cancel requested; it ends when it is delivered, if it is among the waiting jobs",
    ))
}

/// The outcome of a job that has ended, as far as the log of attempts tells.
async fn ended(records: &dyn RecordStore, id: JobId) -> Result<Option<String>> {
    use AttemptOutcome::{Cancelled, Completed, Dead, Retried, Snoozed, Stale};
    let last = RecordFilter { job: Some(id), limit: 1, ..RecordFilter::default() };
    Ok(records.list(&last).await?.pop().and_then(|last| match last.outcome {
        Completed | Cancelled => Some(format!("it has ended: {}", last.outcome.as_str())),
        Dead | Retried | Snoozed | Stale => None,
    }))
}

/// What is known of a job that an action did not find.
async fn known(engine: &dyn Admin, records: &dyn RecordStore, id: JobId) -> Result<Option<String>> {
    match engine.find(id).await?.map(|held| held.state) {
        Some(JobState::Dead) => return Ok(Some(IS_DEAD.to_owned())),
        Some(state) => return Ok(Some(format!("it is {}", state.as_str()))),
        None => {}
    }
    ended(records, id).await
}
