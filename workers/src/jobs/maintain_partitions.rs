//! Job that creates the partitions of the coming months and drops expired ones.
//!
//! A crash leaves each partition whole, or not created; the next run goes on.

use std::time::Duration;

use jobs::{Backoff, Job, JobError};
use serde::{Deserialize, Serialize};

use super::Result;
use crate::{
    housekeeping::{
        ATTEMPTS_MAX, BACKOFF, HousekeepingContext, HousekeepingEnv, RUN_MAX, SINGLE_RUN, checked_now,
    },
    queues::HOUSEKEEPING,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintainPartitions {}

impl Job for MaintainPartitions {
    type Env = HousekeepingEnv;
    const KIND: &'static str = "maintain_partitions";
    const QUEUE: &'static str = HOUSEKEEPING;
    const MAX_ATTEMPTS: u32 = ATTEMPTS_MAX;
    const TIMEOUT: Duration = RUN_MAX;
    const BACKOFF: Backoff = BACKOFF;

    fn unique_key(&self) -> Option<String> {
        Some(SINGLE_RUN.to_owned())
    }

    async fn run(&self, ctx: &HousekeepingContext) -> Result<()> {
        let now = checked_now(ctx).await?;
        let Some(partitions) = &ctx.env.partitions else { return Ok(()) };
        partitions.maintain(now).await.map_err(JobError::cancel)
    }
}
