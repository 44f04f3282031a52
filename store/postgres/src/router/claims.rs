//! Claims over shards: they rotate over the shards, and leave a failed one alone for a while.
//!
//! Guarantees: each claim begins at another shard, so that a full one cannot starve the others. A failed shard is
//! skipped for the length of its [pause](super::pause), after which it has [`PROBE`] to answer, so that it costs the
//! others at most a tenth of their time, and only one relay at a time; its failure is logged once. A claim fails only
//! when no shard answers.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use store::outbox::OutboxMessage;
use tokio::time::timeout;

use super::member::Member;
use crate::{database::OrderDatabase, fault::PostgresFault};

/// Longest wait for the first answer after a pause.
const PROBE: Duration = Duration::from_millis(500);

/// Number of the shard with which the next claim begins.
#[derive(Default)]
pub(super) struct ClaimRotation(AtomicUsize);

impl ClaimRotation {
    /// Claims up to `limit` messages, over one shard after the other.
    pub(super) async fn claim<F>(
        &self,
        members: &[Member],
        limit: u32,
        claim: impl Fn(OrderDatabase, u32) -> F,
    ) -> Result<Vec<OutboxMessage>, PostgresFault>
    where
        F: Future<Output = Result<Vec<OutboxMessage>, PostgresFault>>,
    {
        let first = self.0.fetch_add(1, Ordering::Relaxed) % members.len().max(1);
        let are_all_pausing = members.iter().all(|member| member.pause.is_pausing());
        let (mut messages, mut failed, mut answered) = (Vec::new(), None, false);
        for member in members[first..].iter().chain(&members[..first]) {
            let left = limit.saturating_sub(u32::try_from(messages.len()).unwrap_or(u32::MAX));
            if left == 0 {
                break;
            }
            if member.pause.is_pausing() && !are_all_pausing {
                continue;
            }
            match claim_from(member, claim(member.primary.clone(), left)).await {
                Ok(taken) => {
                    answered = true;
                    messages.extend(taken);
                }
                Err(fault) => failed = Some(fault),
            }
        }
        match failed {
            Some(fault) if !answered => Err(fault),
            _ => Ok(messages),
        }
    }
}

async fn claim_from(
    member: &Member,
    claiming: impl Future<Output = Result<Vec<OutboxMessage>, PostgresFault>>,
) -> Result<Vec<OutboxMessage>, PostgresFault> {
    let claimed = if member.pause.has_failed() {
        // Messages that were leased all the same are claimed again by this relay, once the shard answers.
        timeout(PROBE, claiming).await.unwrap_or(Err(PostgresFault::Sql(sqlx::Error::PoolTimedOut)))
    } else {
        claiming.await
    };
    if member.pause.note(claimed.is_err()) {
        let shard = &member.name;
        match &claimed {
            Ok(_) => tracing::info!(%shard, "outbox of shard available again"),
            Err(error) => tracing::warn!(%shard, %error, "outbox of shard unavailable"),
        }
    }
    claimed
}
