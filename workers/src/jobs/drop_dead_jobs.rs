//! Job that drops dead jobs: those that died long ago, and of each queue all but the newest.
//!
//! Drops in slices, those that died first; says so in the log, and warns where a queue is over its limit. Of two runs
//! at the same moment each may drop a slice beyond the limit, never more.

use std::time::Duration;

use base::{Timestamp, time::earlier};
use jobs::{
    Backoff, Job, JobError,
    engine::{DeadFilter, EngineError},
    error::describe,
};
use serde::{Deserialize, Serialize};

use super::Result;
use crate::{
    housekeeping::{
        ATTEMPTS_MAX, BACKOFF, HousekeepingContext, HousekeepingEnv, RUN_MAX, SINGLE_RUN, SLICE, checked_now,
        may_go_on,
    },
    queues::HOUSEKEEPING,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropDeadJobs {}

impl Job for DropDeadJobs {
    type Env = HousekeepingEnv;
    const KIND: &'static str = "drop_dead_jobs";
    const QUEUE: &'static str = HOUSEKEEPING;
    const MAX_ATTEMPTS: u32 = ATTEMPTS_MAX;
    const TIMEOUT: Duration = RUN_MAX;
    const BACKOFF: Backoff = BACKOFF;

    fn unique_key(&self) -> Option<String> {
        Some(SINGLE_RUN.to_owned())
    }

    async fn run(&self, ctx: &HousekeepingContext) -> Result<()> {
        let now = checked_now(ctx).await?;
        drop_all(ctx, now).await.map_err(|error| {
            tracing::warn!(error = describe(&error), "dead jobs not expired; retrying later");
            JobError::cancel(error)
        })
    }
}

async fn drop_all(ctx: &HousekeepingContext, now: Timestamp) -> Result<(), EngineError> {
    let env = &ctx.env;
    let old = DeadFilter { died_before: Some(earlier(now, env.dead_keep)), ..DeadFilter::default() };
    let expired = drop_some(ctx, &old, u64::MAX).await?;
    if expired > 0 {
        tracing::info!(jobs = expired, "expired dead jobs deleted");
    }
    for queue in env.engine.queues().await? {
        let over = env.engine.depth(&queue).await?.dead.saturating_sub(env.dead_most);
        if over > 0 {
            let of_queue = DeadFilter { queue: Some(queue.clone()), ..DeadFilter::default() };
            let dropped = drop_some(ctx, &of_queue, over).await?;
            tracing::warn!(job.queue = queue, jobs = dropped, "dead jobs over the limit deleted");
        }
    }
    Ok(())
}

/// Drops up to `most` matching jobs.
async fn drop_some(ctx: &HousekeepingContext, filter: &DeadFilter, most: u64) -> Result<u64, EngineError> {
    let (began, mut dropped) = (ctx.ambient.now(), 0);
    while dropped < most && may_go_on(ctx, began) {
        let limit = u32::try_from(most - dropped).unwrap_or(u32::MAX).min(SLICE);
        match ctx.env.engine.drop_dead(&DeadFilter { limit, ..filter.clone() }).await? {
            0 => break,
            slice => dropped += slice,
        }
    }
    Ok(dropped)
}
