//! Job that deletes expired records: idempotency records, the log of attempts, sessions and carts in a file, proofs of
//! addresses.
//!
//! Rows are deleted in slices, each in a transaction of its own; a crash leaves the rest to the next run. A store that
//! fails keeps no other from being cleaned.

use std::time::Duration;

use base::time::earlier;
use jobs::{Backoff, Job, JobError};
use serde::{Deserialize, Serialize};

use super::Result;
use crate::{
    housekeeping::{
        ATTEMPTS_MAX, BACKOFF, HousekeepingContext, HousekeepingEnv, RUN_MAX, SINGLE_RUN, SLICE, checked_now,
        slices,
    },
    queues::HOUSEKEEPING,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteExpired {}

impl Job for DeleteExpired {
    type Env = HousekeepingEnv;
    const KIND: &'static str = "delete_expired";
    const QUEUE: &'static str = HOUSEKEEPING;
    const MAX_ATTEMPTS: u32 = ATTEMPTS_MAX;
    const TIMEOUT: Duration = RUN_MAX;
    const BACKOFF: Backoff = BACKOFF;

    fn unique_key(&self) -> Option<String> {
        Some(SINGLE_RUN.to_owned())
    }

    async fn run(&self, ctx: &HousekeepingContext) -> Result<()> {
        let now = checked_now(ctx).await?;
        let env = &ctx.env;
        let attempts_before = earlier(now, env.records_keep);
        let keys = slices(ctx, || env.orders.expire_idempotency(now, SLICE)).await;
        let attempts = slices(ctx, || env.records.expire(attempts_before, SLICE)).await;
        let sessions = slices(ctx, || env.sessions.expire(SLICE)).await;
        let proofs = slices(ctx, || env.orders.expire_verifications(now, SLICE)).await;
        match (keys, attempts, sessions, proofs) {
            (Ok(0), Ok(0), Ok(0), Ok(0)) => Ok(()),
            (Ok(keys), Ok(attempts), Ok(sessions), Ok(proofs)) => {
                tracing::info!(keys, attempts, sessions, proofs, "expired records deleted");
                Ok(())
            }
            (keys, attempts, sessions, proofs) => {
                let error = keys.err().or(attempts.err()).or(sessions.err()).or(proofs.err());
                let error = error.unwrap_or_default();
                tracing::warn!(error, "expired records not deleted; retrying later");
                Err(JobError::cancel(error))
            }
        }
    }
}
