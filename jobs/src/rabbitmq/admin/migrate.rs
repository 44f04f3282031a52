//! Migration of queues that an earlier release declared with other arguments, messages included.
//!
//! A queue's arguments cannot be changed, so its messages move to a second queue while it is recreated, and back. Each
//! is acknowledged at its source only after it is confirmed at its destination: a crash in between leaves a duplicate,
//! and the second queue, which the next run empties. Run it while the queue's workers are stopped.

use lapin::{
    BasicProperties, Channel,
    options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};

use crate::{
    engine::EngineError,
    rabbitmq::{
        client::RabbitClient,
        publish::batch::Outgoing,
        wire::{
            fault::{answer, unavailable},
            message::{Raw, copy},
            topology::{self, QueueShape},
        },
    },
};

/// Messages moved between two acknowledgements.
const CHUNK_MAX: usize = 256;

impl RabbitClient {
    /// Returns the number of messages moved, zero for a queue with the current arguments.
    pub(super) async fn migrate_one(&self, queue: &str, shape: QueueShape) -> Result<u64, EngineError> {
        let (name, aside) = (shape.name.clone(), format!("{}.migrating", shape.name));
        // Bound to its exchange again by the declaration of the whole queue.
        let shape = QueueShape { binding: None, ..shape };
        let fits = self.declare(queue, &shape).await;
        let channel = self.admin.channel().await?;
        let left_over = topology::count(&channel, &aside).await?.is_some();
        match fits {
            Ok(()) if !left_over => return Ok(0),
            Ok(()) => {}
            Err(EngineError::Topology { difference, .. }) => {
                tracing::info!(job.queue = queue, difference, "recreating queue");
                // Without a message TTL or delivery limit, so that no message leaves it meanwhile.
                let arguments = topology::quorum();
                let second = QueueShape { name: aside.clone(), arguments, binding: None };
                self.declare(queue, &second).await?;
                self.move_all(&name, &aside).await?;
                self.delete_empty(&name).await?;
                self.declare(queue, &shape).await?;
            }
            Err(error) => return Err(error),
        }
        let moved = self.move_all(&aside, &name).await?;
        self.delete_empty(&aside).await?;
        Ok(moved)
    }

    async fn declare(&self, queue: &str, shape: &QueueShape) -> Result<(), EngineError> {
        topology::declare_one(&self.admin.channel().await?, queue, shape).await
    }

    async fn move_all(&self, from: &str, to: &str) -> Result<u64, EngineError> {
        let channel = self.admin.channel().await?;
        let mut moved = 0;
        loop {
            let (last, messages) = take_chunk(&channel, from, to).await?;
            if messages.is_empty() {
                return Ok(moved);
            }
            moved += messages.len() as u64;
            self.publisher.publish(messages).await?;
            answer(channel.basic_ack(last, BasicAckOptions { multiple: true })).await?;
        }
    }

    /// Quorum queues of 3.10 do not support a conditional delete, so the condition is checked before.
    async fn delete_empty(&self, name: &str) -> Result<(), EngineError> {
        let channel = self.admin.channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = answer(channel.queue_declare(name.into(), passive, FieldTable::default())).await?;
        if queue.message_count() > 0 || queue.consumer_count() > 0 {
            return Err(unavailable(format!("`{name}` is in use: stop its workers and publishers first")));
        }
        answer(channel.queue_delete(name.into(), QueueDeleteOptions::default())).await.map(drop)
    }
}

async fn take_chunk(channel: &Channel, from: &str, to: &str) -> Result<(u64, Vec<Outgoing>), EngineError> {
    let (mut last, mut messages) = (0, Vec::new());
    while messages.len() < CHUNK_MAX {
        let got = answer(channel.basic_get(from.into(), BasicGetOptions::default())).await?;
        let Some(got) = got else { break };
        last = got.delivery.delivery_tag;
        let properties: BasicProperties = got.delivery.properties.clone();
        let raw = copy(&Raw { properties, body: got.delivery.data.clone() });
        messages.push(Outgoing::to_queue(to.to_owned(), raw));
    }
    Ok((last, messages))
}
