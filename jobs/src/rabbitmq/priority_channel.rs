//! One class of a session: its channel, its subscription, and the deliveries it holds.

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

use super::{
    consumer::ConsumerShared,
    fault::{answer, broken, unavailable},
    message::{Message, Meta},
    topology,
    window::Window,
};
use crate::{
    engine::{EngineError, JobSignal},
    envelope::{Envelope, JobId},
    job::Priority,
};

/// A delivery in hand.
pub(super) struct Slot {
    pub(super) stage: DeliveryStage,
    /// Gone once an outcome that needs it is being made durable.
    pub(super) message: Option<Message>,
    pub(super) id: JobId,
    pub(super) signal: JobSignal,
    /// Counts against the prefetch.
    pub(super) handed_out: bool,
    pub(super) since: Instant,
}

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryStage {
    /// Not handed out yet.
    Waiting,
    Running,
    /// Its outcome is being made durable.
    Settling,
}

impl Slot {
    pub(super) fn new(id: JobId, message: Message, since: Instant) -> Self {
        let (signal, handed_out) = (JobSignal::default(), false);
        Self { stage: DeliveryStage::Waiting, message: Some(message), id, signal, handed_out, since }
    }

    /// The job, while it is held here and can be read.
    pub(super) fn job(&self) -> Option<(&Arc<Envelope>, &Meta)> {
        match self.message.as_ref()? {
            Message::Job(envelope, meta) => Some((envelope, meta)),
            Message::Unreadable(_) => None,
        }
    }
}

/// One class.
pub(super) struct PriorityChannel {
    pub(super) priority: Priority,
    pub(super) channel: Channel,
    pub(super) consumer: Option<lapin::Consumer>,
    pub(super) window: Window<Slot>,
    /// Tags to hand out, in order.
    pub(super) ready: VecDeque<u64>,
    /// Tags whose concurrency key is taken.
    pub(super) blocked: VecDeque<u64>,
    queue: String,
    name: String,
    /// A consumer tag is never used twice: 3.10.8 closes the channel when one returns with deliveries in flight.
    subscriptions: u32,
}

impl PriorityChannel {
    pub(super) async fn open(
        connection: &Connection,
        queue: &str,
        class: Priority,
        name: &str,
        prefetch: u16,
    ) -> Result<Self, EngineError> {
        let channel = answer(connection.create_channel()).await?;
        answer(channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        Ok(Self {
            priority: class,
            channel,
            consumer: None,
            window: Window::new(),
            ready: VecDeque::new(),
            blocked: VecDeque::new(),
            queue: topology::work_queue(queue, class),
            name: name.to_owned(),
            subscriptions: 0,
        })
    }

    pub(super) async fn subscribe(&mut self) -> Result<(), EngineError> {
        self.subscriptions += 1;
        let tag = format!("{}.{}.{}", self.name, self.priority, self.subscriptions);
        // The end of a long name is what tells consumers apart.
        let tag: String = tag.chars().rev().take(60).collect::<Vec<_>>().into_iter().rev().collect();
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let queue = self.queue.as_str().into();
        let consuming = self.channel.basic_consume(queue, tag.as_str().into(), options, none);
        self.consumer = Some(answer(consuming).await?);
        Ok(())
    }

    /// Ends the subscription; answers what had been sent until then.
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

    /// Acknowledges what is finished. The frames are handed to the connection's own thread; not waited for, since an
    /// acknowledgement has no answer, and a connection that cannot send them shows in its state.
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
