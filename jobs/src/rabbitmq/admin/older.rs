//! Work queues of earlier releases, drained into those of this one.
//!
//! The arguments of a broker queue cannot be changed, so their version is part of its name. While this handle consumes
//! a job queue, it moves what lies in the work queues of earlier versions to the current ones: jobs from before the
//! upgrade, and those that a relay of the earlier release goes on publishing. A message is acknowledged after its copy
//! is confirmed: a crash in between leaves both. All headers are kept, and lost deliveries are counted on.
//!
//! No queue is deleted: that it is empty cannot be told and kept until the deletion. An operator deletes old ones once
//! no process of the earlier release is left.

use std::{collections::HashMap, sync::Weak, time::Duration};

use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicGetOptions},
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    engine::EngineError,
    error::describe,
    job::Priority,
    rabbitmq::{
        client::RabbitClient,
        publish::{
            batch::Outgoing,
            route::{Route, route},
        },
        wire::{
            fault::answer,
            message::{self, Raw},
            topology::{self, older_work_queue, work_queue},
        },
    },
};

/// Interval of looking into old queues: how late a job of an old relay may be.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The same for an old queue that did not exist.
const LOOK_AGAIN: Duration = Duration::from_mins(10);
/// Most messages moved between two acknowledgements.
const CHUNK_MAX: usize = 256;

/// Old queues that do not exist, with the time of the next look.
type Absent = HashMap<String, Instant>;

/// Runs until the engine handle is dropped.
pub(crate) async fn run(client: Weak<RabbitClient>) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut absent, mut well) = (Absent::new(), true);
    loop {
        tick.tick().await;
        let Some(client) = client.upgrade() else { return };
        // Without a publisher, messages would only be fetched and returned.
        if client.publisher.trouble().is_some() {
            continue;
        }
        let drained = client.drain_older(&mut absent).await;
        if let (Err(error), true) = (&drained, well) {
            tracing::warn!(error = describe(error), "queues of an earlier release not drained, retrying");
        }
        well = drained.is_ok();
    }
}

impl RabbitClient {
    async fn drain_older(&self, absent: &mut Absent) -> Result<(), EngineError> {
        for queue in self.consumed_queues() {
            for priority in Priority::ALL {
                let old = older_work_queue(&queue, priority);
                if absent.get(&old).is_some_and(|look_at| *look_at > Instant::now()) {
                    continue;
                }
                let channel = self.admin.channel().await?;
                let Some(waiting) = topology::count(&channel, &old).await? else {
                    absent.insert(old, Instant::now() + LOOK_AGAIN);
                    continue;
                };
                // What is published meanwhile waits for the next look, so that no queue is neglected.
                let (mut moved, most) = (0, waiting.max(CHUNK_MAX as u64));
                while moved < most {
                    match self.move_chunk(&channel, &old, &queue, priority).await? {
                        0 => break,
                        count => moved += count,
                    }
                }
                if moved > 0 {
                    tracing::info!(job.queue = queue, from = old, moved, "jobs of an earlier release moved");
                }
                answer(channel.close(200, "drained".into())).await?;
            }
        }
        Ok(())
    }

    /// Moves up to [`CHUNK_MAX`] messages; returns how many.
    async fn move_chunk(
        &self,
        channel: &Channel,
        old: &str,
        queue: &str,
        priority: Priority,
    ) -> Result<u64, EngineError> {
        let (mut last, mut count) = (None, 0);
        let (mut outgoing, mut scheduled) = (Vec::new(), Vec::new());
        while outgoing.len() + scheduled.len() < CHUNK_MAX {
            let Some(got) = answer(channel.basic_get(old.into(), BasicGetOptions::default())).await? else {
                break;
            };
            last = Some(got.delivery.delivery_tag);
            count += 1;
            match self.route_old(got.delivery, queue, priority) {
                Route::Publish(message) => outgoing.push(message),
                Route::Schedule(job) => scheduled.push(job),
            }
        }
        let Some(last) = last else { return Ok(0) };
        if !scheduled.is_empty() {
            self.store.schedule(scheduled).await?;
        }
        self.publisher.publish(outgoing).await?;
        answer(channel.basic_ack(last, BasicAckOptions { multiple: true })).await?;
        Ok(count)
    }

    /// A job of an earlier release may have a part of its delay still before it.
    fn route_old(&self, delivery: Delivery, queue: &str, priority: Priority) -> Route {
        let raw = Raw { properties: delivery.properties, body: delivery.data };
        let now = self.ambient.now();
        match message::decode(queue, &raw) {
            Ok((mut envelope, meta)) if meta.not_before.is_some_and(|at| at > now) => {
                envelope.priority = priority;
                let at = meta.not_before;
                route(&envelope, meta, at, &self.ambient)
            }
            _ => Route::Publish(Outgoing::to_queue(work_queue(queue, priority), message::copy(&raw))),
        }
    }
}
