//! Consuming: a supervisor per consumer, a session per connection, and settlements back to the broker.

pub(super) mod consumer;
pub(super) mod keys;
mod outcome;
mod priority_channel;
mod session;
mod supervisor;
mod window;

use async_trait::async_trait;

use super::{
    client::RabbitEngine,
    wire::{fault::answer, topology},
};
use crate::engine::{Consume, ConsumeOptions, Consumer, EngineError, QueueSpec};

#[async_trait]
impl Consume for RabbitEngine {
    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), EngineError> {
        queues.iter().try_for_each(|queue| topology::check_name(&queue.name))?;
        for queue in queues {
            let channel = self.client.admin.channel().await?;
            topology::declare(&channel, &queue.name).await?;
            answer(channel.close(200, "declared".into())).await?;
        }
        let names: Vec<String> = queues.iter().map(|queue| queue.name.clone()).collect();
        self.client.store.add_queues(&names).await?;
        self.client.declared().extend(names);
        Ok(())
    }

    async fn consume(&self, queue: &str, options: ConsumeOptions) -> Result<Consumer, EngineError> {
        self.client.require_queues([queue].into()).await?;
        self.client.refresh_control().await?;
        supervisor::start(self.client.clone(), queue, options).await
    }
}
