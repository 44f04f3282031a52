//! The receiving side of a session: decodes deliveries and dispatches jobs that may start.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use base::Ambient;
use futures::Stream;
use lapin::message::Delivery as RabbitDelivery;
use tokio::time::Instant;

use super::{before_start::asks_store, state::ConsumerSession};
use crate::{
    engine::{CRASH_PAUSE, CRASHES_MAX, DeadReason, Delivery, EngineError, LOST_MAX, Receipt},
    envelope::JobId,
    job::Priority,
    rabbitmq::{
        consume::{
            outcome::DeliveryOutcome,
            priority_channel::{DeliveryStage, PriorityChannel, Slot},
        },
        wire::{
            fault::{broken, unavailable},
            headers::Meta,
            message::{self, Message, Raw},
        },
    },
};

/// How long a suspect is put aside while other jobs run; the shortest rung of the delay ladder.
const SUSPECT_ASIDE: Duration = Duration::from_millis(250);
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
        let is_suspect = matches!(&message, Message::Job(_, meta) if meta.alone.is_some());
        let asks_store = matches!(&message, Message::Job(envelope, _) if asks_store(envelope));
        let target = &mut self.channels[channel];
        if !target.window.push(tag, Slot::new(id, message, now)) {
            return Err(unavailable(format!("delivery tag {tag} out of sequence")));
        }
        match outcome {
            None if asks_store => self.ask_store(channel, tag),
            None if is_suspect => self.start_alone(channel, tag),
            None => target.ready.push_back(tag),
            Some(outcome) => self.conclude(channel, tag, outcome),
        }
        Ok(())
    }

    /// Decodes a delivery; with an outcome when it is not to be dispatched.
    fn decode(&self, raw: Raw, class: Priority) -> (JobId, Message, Option<DeliveryOutcome>) {
        let (inner, shared) = (&self.plan.inner, &self.plan.shared);
        let (mut envelope, mut meta) = match message::decode(&shared.queue, &raw) {
            Ok(decoded) => decoded,
            Err(error) => {
                let id = message::unreadable_id(&raw, class);
                tracing::error!(job.id = %id, job.queue = shared.queue, error, "undecodable job moved to the dead queue");
                return (id, Message::Unreadable(Box::new(raw)), Some(DeliveryOutcome::Unreadable { error }));
            }
        };
        envelope.priority = class;
        let reached = meta.not_before.map_or(envelope.created_at, |at| at.max(envelope.created_at));
        // At most now: a publisher whose clock is ahead must not hide the age of a backlog.
        let reached = reached.min(inner.ambient.now());
        shared.reached_ms.fetch_max(reached.as_millisecond(), Ordering::Relaxed);
        let outcome = if self.is_cancelled(envelope.id) {
            Some(DeliveryOutcome::Ended)
        } else if !meta.left.is_zero() {
            Some(DeliveryOutcome::Wait)
        } else {
            suspicion(&mut meta, &inner.ambient)
        };
        (envelope.id, Message::Job(Arc::new(envelope), meta), outcome)
    }

    /// Dispatches jobs that may start, in the order of [`Priority::in_turn`].
    pub(super) fn dispatch(&mut self) {
        let (shared, prefetch) = (self.plan.shared.clone(), usize::from(self.plan.prefetch));
        while shared.handed_out.load(Ordering::SeqCst) < prefetch && self.plan.deliveries.capacity() > 0 {
            let Some((channel, tag)) = self.next_ready() else { break };
            shared.handed_out.fetch_add(1, Ordering::SeqCst);
            if !self.plan.inner.solo.is_open() {
                shared.handed_out.fetch_sub(1, Ordering::SeqCst);
                self.channels[channel].ready.push_front(tag);
                break;
            }
            if !self.hand_over(channel, tag) {
                shared.handed_out.fetch_sub(1, Ordering::SeqCst);
            }
        }
        for channel in 0..self.channels.len() {
            // Too many deliveries that wait for a key would fill the prefetch.
            let most = usize::from(self.plan.prefetch).div_ceil(2).max(1);
            while self.channels[channel].blocked.len() > most
                && let Some(tag) = self.take_youngest_blocked(channel)
            {
                self.conclude(channel, tag, DeliveryOutcome::Aside);
            }
        }
    }

    /// Of the deliveries that wait for a key, the last one of those that were put aside least often: so that a job that
    /// has waited long is not overtaken by every new one.
    fn take_youngest_blocked(&mut self, channel: usize) -> Option<u64> {
        let PriorityChannel { window, blocked, .. } = &mut self.channels[channel];
        let mut youngest: Option<(u32, usize)> = None;
        for (index, tag) in blocked.iter().enumerate() {
            let waits = window.get(*tag).and_then(|slot| slot.job()).map_or(0, |(_, meta)| meta.key_waits);
            if youngest.is_none_or(|(least, _)| waits <= least) {
                youngest = Some((waits, index));
            }
        }
        blocked.remove(youngest?.1)
    }

    /// Channel and tag of the delivery to dispatch next. The channels are in the order of [`Priority::ALL`].
    fn next_ready(&mut self) -> Option<(usize, u64)> {
        Priority::in_turn(self.starts).into_iter().find_map(|priority| {
            let channel = priority as usize;
            Some((channel, self.channels[channel].ready.pop_front()?))
        })
    }

    /// Starts a suspect, unless another job of the process runs: then it is put aside, and no job starts meanwhile.
    ///
    /// It starts as a copy of its own. The broker counts a lost delivery whether or not its job ran: suspects on their
    /// way aside when the one that runs takes the process down would be charged with it, all of them in each crash.
    pub(super) fn start_alone(&mut self, channel: usize, tag: u64) {
        let inner = Arc::clone(&self.plan.inner);
        let target = &mut self.channels[channel];
        let subscribed = target.consumer.is_some();
        let its_turn = target.window.get(tag).and_then(|slot| slot.job()).is_some_and(|(_, meta)| meta.turn);
        if subscribed && its_turn && self.run_alone(channel, tag) {
            return;
        }
        if subscribed && !its_turn && inner.solo.reserve(self.id, || inner.is_busy()) {
            return self.conclude(channel, tag, DeliveryOutcome::Turn);
        }
        let later = inner.ambient.now() + SUSPECT_ASIDE;
        self.conclude(channel, tag, DeliveryOutcome::Again(Some(later)));
    }

    /// Hands a suspect to the worker. Returns false when another job runs, its key is in use, or an earlier run of it
    /// goes on.
    fn run_alone(&mut self, channel: usize, tag: u64) -> bool {
        let (inner, shared) = (Arc::clone(&self.plan.inner), Arc::clone(&self.plan.shared));
        if !inner.solo.enter(self.id, receipt_tag(channel, tag), || inner.is_busy()) {
            return false;
        }
        shared.handed_out.fetch_add(1, Ordering::SeqCst);
        if self.hand_over(channel, tag) {
            return true;
        }
        shared.handed_out.fetch_sub(1, Ordering::SeqCst);
        self.channels[channel].blocked.pop_back();
        inner.solo.leave(self.id, None);
        false
    }

    /// Hands a delivery to the worker, which has room for it. Returns false when its key is in use, or an earlier run
    /// of the job goes on.
    fn hand_over(&mut self, channel: usize, tag: u64) -> bool {
        let Some(delivery) = self.start(channel, tag) else { return false };
        self.starts += 1;
        self.channels[channel].started = Instant::now();
        // When the receiver is closed, the job is released at the end of the session.
        drop(self.plan.deliveries.try_send(delivery));
        true
    }

    fn start(&mut self, channel: usize, tag: u64) -> Option<Delivery> {
        let (session, receipt_tag) = (self.id, receipt_tag(channel, tag));
        let keys = &self.plan.inner.keys;
        let PriorityChannel { window, blocked, .. } = &mut self.channels[channel];
        let slot = window.get(tag).filter(|slot| slot.stage == DeliveryStage::Waiting)?;
        let receipt = Receipt { job: slot.id, tag: receipt_tag, session };
        let (envelope, meta) = slot.job()?;
        if !keys.take(envelope.concurrency_key.as_deref(), receipt) {
            blocked.push_back(tag);
            return None;
        }
        let (envelope, crashes) = (envelope.clone(), meta.crashes);
        slot.stage = DeliveryStage::Running;
        slot.handed_out = true;
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

/// Tag of a receipt: that of the delivery, and its channel.
pub(super) fn receipt_tag(channel: usize, tag: u64) -> u64 {
    tag << 2 | channel as u64
}

/// Decides about a job by the consumers it lost. Returns an outcome when it is not to be started now.
fn suspicion(meta: &mut Meta, ambient: &Ambient) -> Option<DeliveryOutcome> {
    let Some(before) = meta.alone else {
        // A copy, because the broker's count of this one goes on and is no matter of single runs.
        let suspect = meta.lost > LOST_MAX;
        meta.alone = suspect.then_some(0);
        return suspect.then_some(DeliveryOutcome::Again(None));
    };
    if !meta.turn || meta.lost == 0 {
        return None;
    }
    let alone = before.saturating_add(1);
    (meta.alone, meta.turn) = (Some(alone), false);
    if alone > CRASHES_MAX {
        let error = format!("lost its consumer {alone} times, running alone");
        return Some(DeliveryOutcome::Dead { reason: DeadReason::Crashed, error });
    }
    let (pause, longest) = CRASH_PAUSE;
    let pause = pause.saturating_mul(1 << (alone - 1)).min(longest);
    Some(DeliveryOutcome::Again(Some(ambient.now() + pause)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_is_charged_for_the_copy_that_ran_alone_only() {
        let (ambient, _) = Ambient::steered(1, base::Timestamp::UNIX_EPOCH);
        let suspect = |alone, turn, lost| {
            let mut meta = Meta { lost, alone, turn, ..Meta::default() };
            let outcome = suspicion(&mut meta, &ambient);
            (meta.alone, outcome)
        };
        assert!(matches!(suspect(None, false, LOST_MAX), (None, None)));
        let became = suspect(None, false, LOST_MAX + 1);
        assert!(matches!(became, (Some(0), Some(DeliveryOutcome::Again(None)))), "{became:?}");
        let on_its_way = suspect(Some(CRASHES_MAX), false, 3);
        assert!(matches!(on_its_way, (Some(CRASHES_MAX), None)), "{on_its_way:?}");
        assert!(matches!(suspect(Some(3), true, 0), (Some(3), None)));
        let ran = suspect(Some(3), true, 1);
        assert!(matches!(ran, (Some(4), Some(DeliveryOutcome::Again(Some(_))))), "{ran:?}");
        let too_often = suspect(Some(CRASHES_MAX), true, 2);
        assert!(matches!(too_often.1, Some(DeliveryOutcome::Dead { .. })), "{too_often:?}");
    }
}
