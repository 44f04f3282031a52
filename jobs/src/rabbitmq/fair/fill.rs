//! The task that fills the broker queues of the fair queues that this process consumes, from the backlog in the store,
//! and counts those that it publishes to.
//!
//! Guarantees: jobs are claimed, published and confirmed, then deleted under their claim: a crash in between publishes
//! them again, under the same ids. Several processes share the work; claims keep them apart. While the broker or the
//! store is away, jobs wait.

use std::{sync::Weak, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

use super::{admit::message_of, views::FairViews};
use crate::{
    engine::EngineError,
    error::describe,
    job::Priority,
    rabbitmq::{admin::housekeeping::CLAIM_FOR, client::RabbitClient, publish::route::STORE_PATIENCE},
};

/// Pause after a queue was filled, doubling up to the second value while no queue runs low.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
/// Interval of asking the store while no job waits in it; this process wakes the task when it holds one.
const IDLE_EVERY: Duration = Duration::from_millis(250);
/// The same while no queue is fair: how late this process learns that another one has declared one.
const UNUSED_EVERY: Duration = Duration::from_secs(2);
/// Least and greatest number of jobs up to which a broker queue is filled; between them, twice what the consumers of
/// this process hold at most.
const TARGET: (u64, u64) = (super::views::SHORT, 512);

/// Result of a look at all queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Backlogs {
    None,
    /// Jobs wait, and the broker has enough of them.
    Wait,
    /// Some were moved.
    Moved,
}

/// Runs until the engine handle is dropped.
pub(in crate::rabbitmq) async fn run(client: Weak<RabbitClient>) {
    let Some(fair) = client.upgrade().map(|client| client.fair.clone()) else { return };
    let (mut pause, mut well) = (IDLE_EVERY, true);
    loop {
        count_until(Instant::now() + pause, &fair, &client).await;
        let Some(client) = client.upgrade() else { return };
        let filled = client.fill_all().await;
        pause = match &filled {
            Ok(Backlogs::Moved) => PAUSE.0,
            Ok(Backlogs::Wait) => (pause * 2).clamp(PAUSE.0, PAUSE.1),
            Ok(Backlogs::None) | Err(_) if client.fair.has_queues() => IDLE_EVERY,
            Ok(Backlogs::None) | Err(_) => UNUSED_EVERY,
        };
        match filled {
            Err(error) if well && client.fair.has_queues() => {
                tracing::warn!(
                    error = describe(&error),
                    "jobs of fair queues stay in the job store, retrying"
                );
                well = false;
            }
            Ok(_) if !well => {
                tracing::info!("jobs of fair queues move to the broker again");
                well = true;
            }
            _ => {}
        }
    }
}

/// Counts broker queues for publishing calls, until the next look at the store is due or the task is woken.
async fn count_until(due: Instant, fair: &FairViews, client: &Weak<RabbitClient>) {
    loop {
        tokio::select! {
            () = sleep_until(due) => return,
            () = fair.woken.notified() => return,
            () = fair.count_asked.notified() => {}
        }
        let Some(client) = client.upgrade() else { return };
        for (queue, priority) in fair.to_count() {
            // Failed, the next call that publishes asks itself.
            let _ = timeout(STORE_PATIENCE, client.count_ready(&queue, priority)).await;
        }
    }
}

impl RabbitClient {
    async fn fill_all(&self) -> Result<Backlogs, EngineError> {
        let began = Instant::now();
        let queues = self.store.fair_queues().await?;
        self.fair.learn(&queues, began);
        let mut found = Backlogs::None;
        // Claims would expire unused.
        if self.publisher.trouble().is_some() {
            return Ok(found);
        }
        let consumed = self.consumed_queues();
        for queue in queues.iter().filter(|queue| consumed.contains(&queue.name)) {
            for (priority, waits) in Priority::ALL.into_iter().zip(queue.waits) {
                if waits {
                    found = found.max(self.fill(&queue.name, priority).await?);
                }
            }
        }
        Ok(found)
    }

    /// Fills a broker queue that runs low.
    async fn fill(&self, queue: &str, priority: Priority) -> Result<Backlogs, EngineError> {
        let prefetch: u64 = self.consumers_of(queue).iter().map(|consumer| consumer.prefetch as u64).sum();
        let target = (2 * prefetch).clamp(TARGET.0, TARGET.1);
        let ready = self.count_ready(queue, priority).await?;
        if ready > target / 2 {
            return Ok(Backlogs::Wait);
        }
        let (now, limit) = (self.ambient.now(), u32::try_from(target - ready).unwrap_or(u32::MAX));
        let jobs = self.store.claim_next(queue, priority, now, now + CLAIM_FOR, limit).await?;
        if jobs.is_empty() {
            return Ok(Backlogs::Wait);
        }
        self.publisher.publish(jobs.iter().map(message_of).collect()).await?;
        let claims: Vec<_> = jobs.iter().map(|job| (job.envelope.id, job.claim)).collect();
        self.store.unschedule(&claims).await?;
        Ok(Backlogs::Moved)
    }
}
