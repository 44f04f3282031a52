//! Retention of dead jobs: those that died long ago are dropped, and of each queue all but the newest.
//!
//! Guarantees: drops in slices, those that died first; says so in the log, and warns where a queue is over its limit.
//! Several schedulers that drop at the same moment may drop a slice each beyond the limit, never more. Part of
//! [`crate::housekeeping`].

use std::{sync::Arc, time::Duration};

use base::{Timestamp, time::earlier};
use jobs::{
    Engine,
    engine::{DeadFilter, EngineError},
    error::describe,
};
use tokio_util::sync::CancellationToken;

/// Jobs per call.
const SLICE: u32 = 500;

pub(crate) struct DeadRetention {
    pub(crate) queue: Arc<dyn Engine>,
    pub(crate) keep: Duration,
    /// Dead jobs kept of each queue.
    pub(crate) most: u64,
}

impl DeadRetention {
    pub(crate) async fn pass(&self, now: Timestamp, stop: &CancellationToken) {
        if let Err(error) = self.try_pass(now, stop).await {
            tracing::warn!(error = describe(&error), "dead jobs not expired; retrying later");
        }
    }

    async fn try_pass(&self, now: Timestamp, stop: &CancellationToken) -> Result<(), EngineError> {
        let old = DeadFilter { died_before: Some(earlier(now, self.keep)), ..DeadFilter::default() };
        let expired = self.drop_some(&old, u64::MAX, stop).await?;
        if expired > 0 {
            tracing::info!(jobs = expired, "expired dead jobs deleted");
        }
        for queue in self.queue.queues().await? {
            let over = self.queue.depth(&queue).await?.dead.saturating_sub(self.most);
            if over > 0 {
                let of_queue = DeadFilter { queue: Some(queue.clone()), ..DeadFilter::default() };
                let dropped = self.drop_some(&of_queue, over, stop).await?;
                tracing::warn!(job.queue = queue, jobs = dropped, "dead jobs over the limit deleted");
            }
        }
        Ok(())
    }

    /// Drops up to `most` matching jobs.
    async fn drop_some(
        &self,
        filter: &DeadFilter,
        most: u64,
        stop: &CancellationToken,
    ) -> Result<u64, EngineError> {
        let mut dropped = 0;
        while dropped < most && !stop.is_cancelled() {
            let limit = u32::try_from(most - dropped).unwrap_or(u32::MAX).min(SLICE);
            match self.queue.drop_dead(&DeadFilter { limit, ..filter.clone() }).await? {
                0 => break,
                slice => dropped += slice,
            }
        }
        Ok(dropped)
    }
}

#[cfg(test)]
mod tests {
    use base::Ambient;
    use jobs::{
        Consume, Envelope, Job, JobContext, JobError, Publish,
        engine::{Admin, ConsumeOptions, DeadReason, QueueSpec, Settlement},
        envelope::EnqueueOptions,
        sqlite::SqliteEngine,
    };
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Doomed;

    impl Job for Doomed {
        type Env = ();
        const KIND: &'static str = "doomed";

        async fn run(&self, _: &JobContext<()>) -> Result<(), JobError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn old_dead_jobs_expire_and_a_queue_keeps_its_newest() {
        let (folder, ambient) = (tempfile::tempdir().expect("a folder"), Ambient::system());
        let engine =
            SqliteEngine::open(&folder.path().join("queue.db"), ambient.clone()).await.expect("opens");
        engine.declare(&[QueueSpec::new(Doomed::QUEUE)]).await.expect("declares");
        let lease = Duration::from_secs(30);
        let options = ConsumeOptions { name: "test".to_owned(), prefetch: 1, lease };
        let mut consumer = engine.consume(Doomed::QUEUE, options).await.expect("consumes");
        let mut ids = Vec::new();
        for _ in 0..5 {
            let envelope = Envelope::new(&Doomed, EnqueueOptions::default(), &ambient).expect("a job");
            ids.push(envelope.id);
            engine.publish(vec![envelope]).await.expect("publishes");
            let delivery = consumer.deliveries.recv().await.expect("a delivery");
            let dead = Settlement::Dead { reason: DeadReason::Exhausted, error: "no".to_owned() };
            consumer.settler.settle(delivery.receipt, dead);
        }
        consumer.settler.close().await.expect("closes");
        let held = async || {
            let mut held = Vec::new();
            for id in &ids {
                held.push(engine.find(*id).await.expect("finds").is_some());
            }
            held
        };
        let hour = Duration::from_hours(1);
        let mut retention = DeadRetention { queue: Arc::new(engine.clone()), keep: hour, most: 5 };
        let (now, stop) = (ambient.now(), CancellationToken::new());
        retention.pass(now, &stop).await;
        assert_eq!(held().await, [true; 5]);
        retention.most = 2;
        retention.pass(now, &stop).await;
        assert_eq!(held().await, [false, false, false, true, true]);
        retention.pass(base::time::later(now, hour * 2), &stop).await;
        assert_eq!(held().await, [false; 5]);
    }
}
