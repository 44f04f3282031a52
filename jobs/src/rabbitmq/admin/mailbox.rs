//! The way of a dead job into the job store, and the broker's dead queue as its mailbox.
//!
//! Guarantees: a consumer writes a dead job into the job store before it acknowledges the delivery; while the store
//! cannot be written within two seconds, it publishes the job to the dead queue instead. Every process moves messages
//! from there into the store (those of consumers, of the broker's delivery limit, of an earlier release) and
//! acknowledges them after the commit: a crash in between moves them again, under the same ids. Does not run anything:
//! see [`super::dead`].

use std::{sync::Weak, time::Duration};

use base::Timestamp;
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicGetOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    engine::{CRASHES_MAX, DeadInfo, DeadReason, EngineError},
    envelope::{Envelope, PAYLOAD_BYTES_MAX},
    error::describe,
    job_store::{DeadJob, DeadMessage},
    rabbitmq::{
        client::RabbitClient,
        publish::{batch::Outgoing, route::STORE_PATIENCE},
        wire::{
            fault::answer,
            headers::{self, Meta},
            message::{self, Raw},
            topology::{self, dead_queue},
        },
    },
};

/// Interval of emptying the dead queues.
const DRAIN_EVERY: Duration = Duration::from_secs(3);
/// Most messages moved at a time, and bytes after which no further one is fetched.
const BATCH_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes kept of the body of an undecodable message; of a larger one, the first so many.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// Runs until the engine handle is dropped.
pub(crate) async fn run(client: Weak<RabbitClient>) {
    let mut tick = interval(DRAIN_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut well = true;
    loop {
        tick.tick().await;
        let Some(client) = client.upgrade() else { return };
        if client.publisher.trouble().is_some() {
            continue;
        }
        match client.drain_all().await {
            Err(error) if well => {
                tracing::warn!(error = describe(&error), "dead jobs stay in the broker, retrying");
                well = false;
            }
            Ok(()) if !well => {
                tracing::info!("dead jobs moved to the job store again");
                well = true;
            }
            _ => {}
        }
    }
}

impl RabbitClient {
    /// Keeps a dead job durably. Returns whether the job store has it; otherwise the dead queue has.
    pub(in crate::rabbitmq) async fn store_dead(
        &self,
        queue: &str,
        dead: Outgoing,
    ) -> Result<bool, EngineError> {
        let job = dead_job(queue, &dead.raw, self.ambient.now());
        let id = job.envelope.id;
        let error = match timeout(STORE_PATIENCE, self.store.add_dead(vec![job])).await {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(error)) => describe(&error),
            Err(_) => "no answer from the job store in time".to_owned(),
        };
        tracing::warn!(job.id = %id, job.queue = queue, error, "dead job stays in the broker");
        self.publisher.publish(vec![dead]).await?;
        Ok(false)
    }

    /// Moves the messages of all dead queues into the job store.
    pub(super) async fn drain_all(&self) -> Result<(), EngineError> {
        for queue in self.store.queues().await? {
            self.drain(&queue).await?;
        }
        Ok(())
    }

    async fn drain(&self, queue: &str) -> Result<(), EngineError> {
        let _turn = self.draining.lock().await;
        let (name, channel) = (dead_queue(queue), self.admin.channel().await?);
        if topology::count(&channel, &name).await?.is_none_or(|count| count == 0) {
            return Ok(());
        }
        loop {
            let (last, messages) = take_batch(&channel, &name).await?;
            if messages.is_empty() {
                return answer(channel.close(200, "drained".into())).await;
            }
            let now = self.ambient.now();
            let jobs: Vec<DeadJob> = messages.iter().map(|raw| dead_job(queue, raw, now)).collect();
            let by_broker: Vec<_> = messages
                .iter()
                .zip(&jobs)
                .filter(|(raw, _)| is_from_broker(raw))
                .map(|(_, job)| (job.envelope.id, job.envelope.kind.clone(), job.last_error.clone()))
                .collect();
            // After an error the channel is dropped, and the broker takes the messages back.
            self.store.add_dead(jobs).await?;
            answer(channel.basic_ack(last, BasicAckOptions { multiple: true })).await?;
            for (id, kind, error) in by_broker {
                tracing::error!(job.id = %id, job.kind = kind, job.queue = queue, error, "job moved to the dead queue");
            }
        }
    }
}

/// Fetches messages; returns the tag of the last one, too.
async fn take_batch(channel: &Channel, name: &str) -> Result<(u64, Vec<Raw>), EngineError> {
    let (mut last, mut bytes, mut messages) = (0, 0, Vec::new());
    while messages.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
        let got = answer(channel.basic_get(name.into(), BasicGetOptions::default())).await?;
        let Some(got) = got else { break };
        last = got.delivery.delivery_tag;
        bytes += got.delivery.data.len();
        let (properties, body) = (got.delivery.properties, got.delivery.data);
        messages.push(Raw { properties, body });
    }
    Ok((last, messages))
}

/// The dead job of a message that has the headers of one, or that the broker moved there.
fn dead_job(queue: &str, raw: &Raw, now: Timestamp) -> DeadJob {
    let headers = raw.properties.headers().clone().unwrap_or_default();
    let meta = Meta::of(&headers).unwrap_or_default();
    let by_broker = dead_lettered_at(&headers);
    let (reason, died_at) =
        meta.dead.or(by_broker.map(|at| (DeadReason::Crashed, at))).unwrap_or((DeadReason::Undecodable, now));
    let kept_as = message::dead_id(raw);
    let decoded = message::decode(queue, raw).ok().filter(|_| kept_as.is_none());
    let message = decoded.is_none().then(|| DeadMessage {
        properties: serde_json::to_string(&raw.properties).unwrap_or_default(),
        body: raw.body[..raw.body.len().min(BODY_BYTES_MAX)].to_vec(),
    });
    let envelope = decoded.map_or_else(
        || {
            let priority = message::class_of(&raw.properties);
            let id = kept_as.unwrap_or_else(|| message::unreadable_id(raw, priority));
            Envelope { priority, ..Envelope::undecodable(id, queue.to_owned(), &shown(&raw.body)) }
        },
        |(envelope, _)| envelope,
    );
    // Each return to the dead queue raises this copy's count: it is not one of crashes.
    let returns = headers::number(&headers, "x-delivery-count").ok().flatten().unwrap_or(0);
    let crashes = meta.crashes.saturating_sub(u32::try_from(returns).unwrap_or(0));
    let by_crash = format!("lost its consumer more than {CRASHES_MAX} times");
    let crashed = (reason == DeadReason::Crashed && by_broker.is_some()).then_some(by_crash);
    DeadJob {
        envelope,
        crashes: by_broker.map_or(crashes, |_| crashes + CRASHES_MAX + 1),
        last_error: crashed.or(meta.last_error),
        info: DeadInfo { reason, first_failed_at: meta.first_failed_at.unwrap_or(died_at), died_at },
        message,
        claim: 0,
    }
}

/// The bytes of a body as a text of bounded length, also as JSON.
fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(PAYLOAD_BYTES_MAX / 6)]).into_owned()
}

/// The message of a dead job that could not be decoded.
pub(super) fn raw_of(message: &DeadMessage) -> Raw {
    let properties = serde_json::from_str(&message.properties).unwrap_or_default();
    Raw { properties, body: message.body.clone() }
}

fn is_from_broker(raw: &Raw) -> bool {
    raw.properties.headers().as_ref().is_some_and(|headers| dead_lettered_at(headers).is_some())
}

/// Time at which the broker dead-lettered the message because of its delivery limit.
fn dead_lettered_at(headers: &FieldTable) -> Option<Timestamp> {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else { return None };
    deaths.as_slice().iter().find_map(|death| {
        let AMQPValue::FieldTable(death) = death else { return None };
        let reason = death.inner().get("reason")?;
        let limit = matches!(reason, AMQPValue::LongString(reason) if reason.as_bytes() == b"delivery_limit");
        let Some(AMQPValue::Timestamp(seconds)) = death.inner().get("time").filter(|_| limit) else {
            return None;
        };
        i64::try_from(*seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok())
    })
}
