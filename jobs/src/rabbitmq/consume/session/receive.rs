//! The receiving side of a session: decodes deliveries and dispatches jobs that may start.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use futures::Stream;
use lapin::message::Delivery as RabbitDelivery;
use tokio::time::Instant;

use super::state::ConsumerSession;
use crate::{
    engine::{CRASHES_MAX, DeadReason, Delivery, EngineError, Receipt},
    envelope::JobId,
    job::Priority,
    rabbitmq::{
        consume::{
            outcome::DeliveryOutcome,
            priority_channel::{DeliveryStage, PriorityChannel, Slot},
        },
        wire::{
            fault::{broken, unavailable},
            message::{self, Message, Raw},
        },
    },
};

/// Delay of a job whose key is in use, once too many of these are held.
const ASIDE: Duration = Duration::from_secs(1);
/// Most deliveries handled in one step.
const DELIVERIES_MAX: usize = 256;

impl ConsumerSession {
    /// Receives the deliveries that have arrived.
    pub(super) fn take_in(&mut self) -> Result<(), EngineError> {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        let now = Instant::now();
        self.pace.took(arrivals.len(), now);
        arrivals.drain(..).try_for_each(|(channel, delivery)| self.arrived(channel, delivery, now))?;
        self.arrivals = arrivals;
        Ok(())
    }

    pub(super) fn arrived(
        &mut self,
        channel: usize,
        delivery: RabbitDelivery,
        now: Instant,
    ) -> Result<(), EngineError> {
        self.plan.shared.held.fetch_add(1, Ordering::Relaxed);
        let tag = delivery.delivery_tag;
        let raw = Raw { properties: delivery.properties, body: delivery.data };
        let (id, message, outcome) = self.decode(raw, self.channels[channel].priority);
        let target = &mut self.channels[channel];
        if !target.window.push(tag, Slot::new(id, message, now)) {
            return Err(unavailable(format!("delivery tag {tag} out of sequence")));
        }
        match outcome {
            None => target.ready.push_back(tag),
            Some(outcome) => self.conclude(channel, tag, outcome),
        }
        Ok(())
    }

    /// Decodes a delivery; with an outcome when it is not to be dispatched.
    fn decode(&self, raw: Raw, class: Priority) -> (JobId, Message, Option<DeliveryOutcome>) {
        let (inner, shared) = (&self.plan.inner, &self.plan.shared);
        let (mut envelope, meta) = match message::decode(&shared.queue, &raw) {
            Ok(decoded) => decoded,
            Err(error) => {
                let id = message::id_of(&raw).unwrap_or_else(|| JobId::fresh(&inner.ambient));
                tracing::error!(job.id = %id, job.queue = shared.queue, error, "undecodable job moved to the dead queue");
                return (id, Message::Unreadable(Box::new(raw)), Some(DeliveryOutcome::Unreadable { error }));
            }
        };
        envelope.priority = class;
        let reached = meta.not_before.map_or(envelope.created_at, |at| at.max(envelope.created_at));
        shared.reached_ms.fetch_max(reached.as_millisecond(), Ordering::Relaxed);
        let outcome = if self.is_cancelled(envelope.id) {
            Some(DeliveryOutcome::Ended)
        } else if !meta.left.is_zero() {
            Some(DeliveryOutcome::Wait)
        } else if meta.crashes > CRASHES_MAX {
            let error = format!("lost its consumer {} times", meta.crashes);
            Some(DeliveryOutcome::Dead { reason: DeadReason::Crashed, error })
        } else {
            None
        };
        (envelope.id, Message::Job(Arc::new(envelope), meta), outcome)
    }

    /// Dispatches jobs that may start, in the order of [`Priority::in_turn`].
    pub(super) fn dispatch(&mut self) {
        while self.handed_out < usize::from(self.plan.prefetch) && self.plan.deliveries.capacity() > 0 {
            let Some((channel, tag)) = self.next_ready() else { break };
            if let Some(delivery) = self.start(channel, tag) {
                self.handed_out += 1;
                self.starts += 1;
                // Capacity was checked above; when the receiver is closed, the job is released at the end of the
                // session.
                drop(self.plan.deliveries.try_send(delivery));
            }
        }
        for channel in 0..self.channels.len() {
            // Too many deliveries that wait for a key would fill the prefetch.
            let most = usize::from(self.plan.prefetch).div_ceil(2).max(1);
            while self.channels[channel].blocked.len() > most
                && let Some(tag) = self.channels[channel].blocked.pop_back()
            {
                let later = self.plan.inner.ambient.now() + ASIDE;
                self.conclude(channel, tag, DeliveryOutcome::Again(Some(later)));
            }
        }
    }

    /// Channel and tag of the delivery to dispatch next. The channels are in the order of [`Priority::ALL`].
    fn next_ready(&mut self) -> Option<(usize, u64)> {
        Priority::in_turn(self.starts).into_iter().find_map(|priority| {
            let channel = priority as usize;
            Some((channel, self.channels[channel].ready.pop_front()?))
        })
    }

    fn start(&mut self, channel: usize, tag: u64) -> Option<Delivery> {
        let (session, receipt_tag) = (self.id, tag << 2 | channel as u64);
        let keys = &self.plan.inner.keys;
        let PriorityChannel { window, blocked, .. } = &mut self.channels[channel];
        let slot = window.get(tag).filter(|slot| slot.stage == DeliveryStage::Waiting)?;
        let (envelope, meta) = slot.job()?;
        if envelope.concurrency_key.as_ref().is_some_and(|key| !keys.take(key, session, receipt_tag)) {
            blocked.push_back(tag);
            return None;
        }
        let (envelope, crashes) = (envelope.clone(), meta.crashes);
        slot.stage = DeliveryStage::Running;
        slot.handed_out = true;
        let receipt = Receipt { job: slot.id, tag: receipt_tag, session };
        Some(Delivery { envelope, receipt, crashes, signal: slot.signal.clone() })
    }

    pub(super) fn unblock(&mut self) {
        for channel in &mut self.channels {
            while let Some(tag) = channel.blocked.pop_back() {
                channel.ready.push_front(tag);
            }
        }
    }
}

/// Collects the deliveries that have arrived, highest priority first, at least one. The end of a kept subscription is
/// an error: the server has ended it.
pub(super) async fn next_deliveries(
    channels: &mut [PriorityChannel],
    arrivals: &mut Vec<(usize, RabbitDelivery)>,
) -> Result<(), EngineError> {
    std::future::poll_fn(|context| {
        for (index, channel) in channels.iter_mut().enumerate() {
            let Some(consumer) = channel.consumer.as_mut() else { continue };
            while arrivals.len() < DELIVERIES_MAX {
                match Pin::new(&mut *consumer).poll_next(context) {
                    Poll::Ready(Some(Ok(delivery))) => arrivals.push((index, delivery)),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(&error))),
                    Poll::Ready(None) => {
                        return Poll::Ready(Err(unavailable("the broker ended the subscription")));
                    }
                    Poll::Pending => break,
                }
            }
        }
        if arrivals.is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await
}
