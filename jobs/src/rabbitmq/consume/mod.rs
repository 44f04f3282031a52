//! Consuming: one session and one connection per consumer, and settlements back to the broker.
//!
//! A consumer ends with its session; who consumes starts the next one.

pub(super) mod consumer;
pub(super) mod keys;
mod outcome;
mod priority_channel;
mod session;
pub(super) mod solo;
mod window;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::{
    consumer::{ConsumerShared, RabbitSettler},
    session::{ConsumerSession, Plan},
};
use super::{
    client::RabbitEngine,
    wire::{
        fault::{answer, unavailable},
        topology,
    },
};
use crate::engine::{Consume, ConsumeOptions, Consumer, EngineError, QueueSpec};

/// Most unsettled deliveries a consumer may ask for.
const PREFETCH_MAX: usize = 4096;
/// Longest wait for the subscription.
const START_MAX: Duration = Duration::from_secs(10);

#[async_trait]
impl Consume for RabbitEngine {
    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError> {
        queues.iter().try_for_each(QueueSpec::check)?;
        for queue in queues {
            let channel = self.client.admin.channel().await?;
            topology::check_version(&channel).await?;
            topology::declare(&channel, &queue.name).await?;
            answer(channel.close(200, "declared".into())).await?;
        }
        let names: Vec<String> = queues.iter().map(|queue| queue.name.clone()).collect();
        self.client.store.add_queues(&names).await?;
        for queue in queues {
            if let Some(weights) = &queue.fair {
                self.client.store.set_fair(&queue.name, weights).await?;
            }
        }
        self.client.refresh_fair().await?;
        self.client.fair.wake();
        for name in &names {
            self.client.observe(name).await?;
        }
        self.client.declared.lock().extend(names);
        Ok(())
    }

    async fn consume(&self, queue: &str, options: ConsumeOptions) -> Result<Consumer, EngineError> {
        self.client.require_queues([queue].into()).await?;
        self.client.refresh_control().await?;
        let prefetch = options.prefetch.clamp(1, PREFETCH_MAX);
        let (to_session, commands) = mpsc::unbounded_channel();
        let (deliveries, to_worker) = mpsc::channel(prefetch);
        let (lost, ended) = oneshot::channel();
        let now = self.client.ambient.now();
        let shared = Arc::new(ConsumerShared::new(queue, prefetch, now, to_session.downgrade()));
        let plan = Plan {
            inner: self.client.clone(),
            shared: shared.clone(),
            name: options.name,
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            deliveries,
        };
        let Ok(opened) = timeout(START_MAX, ConsumerSession::open(plan)).await else {
            return Err(unavailable("subscription timed out"));
        };
        let session = opened?;
        self.client.add_consumer(&shared);
        tokio::spawn(session.run(commands, lost));
        let keys = self.client.keys.clone();
        let settler = Arc::new(RabbitSettler { shared, keys, commands: to_session });
        Ok(Consumer { deliveries: to_worker, settler, ended })
    }
}
