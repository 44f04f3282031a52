//! Settling of deliveries, from a run's settlement to the acknowledgement.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{task::JoinError, time::Instant};

use super::{before_start::is_freed_when_fetched, receive::receipt_tag, state::ConsumerSession};
use crate::{
    engine::{EngineError, JobSignal, Receipt, Settlement},
    rabbitmq::{
        consume::{
            outcome::{DeliveryOutcome, Settling},
            priority_channel::{DeliveryStage, PriorityChannel},
        },
        wire::fault::unavailable,
    },
};

/// Longest time until finished deliveries are acknowledged, and their number that triggers it earlier.
const FLUSH_AFTER: Duration = Duration::from_millis(5);
const FLUSH_AT_MAX: usize = 64;

impl ConsumerSession {
    pub(super) fn settle(&mut self, receipt: Receipt, settlement: Settlement) {
        let (tag, channel) = (receipt.tag >> 2, usize::try_from(receipt.tag & 3).unwrap_or(usize::MAX));
        let mine = receipt.session == self.id;
        let slot =
            self.channels.get_mut(channel).filter(|_| mine).and_then(|channel| channel.window.get(tag));
        let slot = slot.filter(|slot| slot.id == receipt.job && slot.stage == DeliveryStage::Running);
        let Some((envelope, meta)) = slot.and_then(|slot| slot.job()) else {
            return self.plan.shared.settled_late(&self.plan.inner.keys, receipt);
        };
        if let Some(key) = &envelope.concurrency_key {
            self.plan.inner.keys.free(key, self.id, receipt.tag);
        }
        let keeps_unique_key = envelope.unique_key.is_some() && !is_freed_when_fetched(envelope);
        let plain = !keeps_unique_key && envelope.order_key.is_none();
        let suspect = meta.alone.is_some();
        let cancelled = self.is_cancelled(receipt.job);
        let outcome = match settlement {
            Settlement::Done if plain && !cancelled => return self.finish(channel, tag),
            Settlement::Release if !cancelled && !suspect && !*self.stopped.borrow() => {
                return self.take_back(channel, tag);
            }
            Settlement::Done | Settlement::Cancelled { .. } => DeliveryOutcome::Ended,
            // After a cancel request every other settlement is final, too.
            _ if cancelled => DeliveryOutcome::Ended,
            Settlement::Retry { at, error } => DeliveryOutcome::Retry { at, error },
            Settlement::Snooze { at } => DeliveryOutcome::Snooze { at },
            Settlement::Dead { reason, error } => DeliveryOutcome::Dead { reason, error },
            Settlement::Release => DeliveryOutcome::Again(None),
        };
        self.conclude(channel, tag, outcome);
    }

    /// Returns a released job to its position here, when its consumer continues.
    fn take_back(&mut self, channel: usize, tag: u64) {
        let Some(slot) = self.channels[channel].window.get(tag) else { return };
        slot.stage = DeliveryStage::Waiting;
        // A new signal, because the old one may have fired.
        slot.signal = JobSignal::default();
        slot.handed_out = false;
        self.plan.shared.handed_out.fetch_sub(1, Ordering::SeqCst);
        self.channels[channel].ready.push_front(tag);
    }

    /// Makes a settlement durable, then acknowledges the delivery.
    pub(super) fn conclude(&mut self, channel: usize, tag: u64, outcome: DeliveryOutcome) {
        let PriorityChannel { window, priority: class, .. } = &mut self.channels[channel];
        let Some(slot) = window.get(tag) else { return };
        let Some(message) = slot.message.take() else { return };
        slot.stage = DeliveryStage::Settling;
        let settling = Settling {
            inner: self.plan.inner.clone(),
            shared: self.plan.shared.clone(),
            class: *class,
            message,
            id: slot.id,
            cancel_requested: self.control.borrow().cancels.contains_key(&slot.id),
        };
        self.settling.spawn(async move {
            settling.run(outcome).await;
            (channel, tag)
        });
    }

    pub(super) fn settled(&mut self, settled: Result<(usize, u64), JoinError>) -> Result<(), EngineError> {
        match settled {
            Ok((channel, tag)) => self.finish(channel, tag),
            // The delivery would stay unacknowledged for ever; ending the session makes the broker deliver it again.
            Err(error) => return Err(unavailable(format!("settlement task failed: {error}"))),
        }
        Ok(())
    }

    fn finish(&mut self, channel: usize, tag: u64) {
        if let Some(slot) = self.channels[channel].window.finish(tag)
            && slot.handed_out
        {
            self.plan.shared.handed_out.fetch_sub(1, Ordering::SeqCst);
            if self.plan.inner.solo.leave(self.id, Some(receipt_tag(channel, tag))) {
                self.plan.inner.keys.wake();
            }
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), EngineError> {
        let finished: usize = self.channels.iter().map(|channel| channel.window.finished()).sum();
        let enough = usize::from(self.plan.prefetch / 4).clamp(1, FLUSH_AT_MAX);
        let now = Instant::now();
        if finished == 0 {
            self.flush_at = None;
        } else if finished >= enough || self.flush_at.is_some_and(|at| at <= now) {
            for channel in &mut self.channels {
                channel.acknowledge(false, &self.plan.shared)?;
            }
            let behind = self.channels.iter().any(|channel| channel.window.finished() > 0);
            self.flush_at = behind.then(|| now + FLUSH_AFTER);
        } else if self.flush_at.is_none() {
            self.flush_at = Some(now + FLUSH_AFTER);
        }
        Ok(())
    }
}
