//! One priority of a session: its channel, its subscription, and the deliveries it holds.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use futures::{FutureExt, StreamExt};
use lapin::{
    Channel, Connection,
    message::Delivery as RabbitDelivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::Instant;

use super::{consumer::ConsumerShared, window::Window};
use crate::{
    engine::{EngineError, JobSignal},
    envelope::{Envelope, JobId},
    job::Priority,
    rabbitmq::wire::{
        fault::{answer, broken, unavailable},
        headers::Meta,
        message::Message,
        topology,
    },
};

pub(super) struct Slot {
    pub(super) stage: DeliveryStage,
    /// The decoded message; taken when a settlement that needs it is made durable.
    pub(super) message: Option<Message>,
    pub(super) id: JobId,
    pub(super) signal: JobSignal,
    /// Whether the delivery is dispatched and counts against the prefetch.
    pub(super) handed_out: bool,
    pub(super) since: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryStage {
    /// Not dispatched yet.
    Waiting,
    Running,
    /// Its settlement is being made durable.
    Settling,
}

impl Slot {
    pub(super) fn new(id: JobId, message: Message, since: Instant) -> Self {
        let (signal, handed_out) = (JobSignal::default(), false);
        Self { stage: DeliveryStage::Waiting, message: Some(message), id, signal, handed_out, since }
    }

    /// The job, while its message is held and readable.
    pub(super) fn job(&self) -> Option<(&Arc<Envelope>, &Meta)> {
        match self.message.as_ref()? {
            Message::Job(envelope, meta) => Some((envelope, meta)),
            Message::Unreadable(_) => None,
        }
    }
}

pub(super) struct PriorityChannel {
    pub(super) priority: Priority,
    pub(super) channel: Channel,
    pub(super) consumer: Option<lapin::Consumer>,
    pub(super) window: Window<Slot>,
    /// Tags to dispatch, in order.
    pub(super) ready: VecDeque<u64>,
    /// Tags whose concurrency key is in use, or whose job still runs for a lost consumer.
    pub(super) blocked: VecDeque<u64>,
    /// Most deliveries of the current subscription.
    pub(super) limit: u16,
    /// Time of the last dispatch.
    pub(super) started: Instant,
    /// While the subscription is ended because all slots are taken: the dispatched jobs of the session at that time.
    pub(super) held_back: Option<u64>,
    /// Whether a question about the queue is open.
    pub(super) probed: bool,
    queue: String,
    name: String,
    /// Number in the consumer tag. Tags are not reused: RabbitMQ 3.10.8 closes the channel when a tag returns with
    /// deliveries in flight.
    subscriptions: u32,
}

impl PriorityChannel {
    pub(super) async fn open(
        connection: &Connection,
        queue: &str,
        class: Priority,
        name: &str,
    ) -> Result<Self, EngineError> {
        let channel = answer(connection.create_channel()).await?;
        Ok(Self {
            priority: class,
            channel,
            consumer: None,
            window: Window::new(),
            ready: VecDeque::new(),
            blocked: VecDeque::new(),
            limit: 0,
            started: Instant::now(),
            held_back: None,
            probed: false,
            queue: topology::work_queue(queue, class),
            name: name.to_owned(),
            subscriptions: 0,
        })
    }

    /// Name of the broker queue.
    pub(super) fn queue(&self) -> &str {
        &self.queue
    }

    /// Subscribes with at most `limit` unacknowledged deliveries, beside those of an earlier subscription.
    pub(super) async fn subscribe(&mut self, limit: u16) -> Result<(), EngineError> {
        answer(self.channel.basic_qos(limit, BasicQosOptions::default())).await?;
        (self.limit, self.held_back) = (limit, None);
        self.subscriptions += 1;
        let tag = format!("{}.{}.{}", self.name, self.priority, self.subscriptions);
        // Of a long name the end is kept: it distinguishes the consumers.
        let tag: String = tag.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let queue = self.queue.as_str().into();
        let consuming = self.channel.basic_consume(queue, tag.as_str().into(), options, none);
        self.consumer = Some(answer(consuming).await?);
        Ok(())
    }

    /// Ends the subscription; returns deliveries that had been sent until then.
    pub(super) async fn unsubscribe(&mut self) -> Result<Vec<RabbitDelivery>, EngineError> {
        let Some(mut consumer) = self.consumer.take() else { return Ok(Vec::new()) };
        answer(self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await?;
        let mut last = Vec::new();
        let rest = async {
            while let Some(delivery) = consumer.next().await {
                last.push(delivery?);
            }
            Ok(())
        };
        answer(rest).await?;
        Ok(last)
    }

    /// Acknowledges finished deliveries. The frames are handed to the connection's own thread and not awaited: an
    /// acknowledgement has no reply, and a connection that cannot send shows in its state.
    pub(super) fn acknowledge(&mut self, all: bool, shared: &ConsumerShared) -> Result<(), EngineError> {
        let before = self.window.finished();
        let acks = self.window.acks(all);
        let single = acks.single.into_iter().map(|tag| (tag, false));
        for (tag, multiple) in acks.up_to.map(|tag| (tag, true)).into_iter().chain(single) {
            let sent = self.channel.basic_ack(tag, BasicAckOptions { multiple }).now_or_never();
            if let Some(Err(error)) = sent {
                return Err(broken(&error));
            }
        }
        shared.held.fetch_sub(before - self.window.finished(), Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn is_open(&self) -> Result<(), EngineError> {
        if self.channel.status().connected() {
            Ok(())
        } else {
            Err(unavailable(format!("the broker closed the channel of `{}`", self.queue)))
        }
    }
}
