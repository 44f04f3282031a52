//! Deliveries that wait in a full consumer while another one of the queue may be idle.
//!
//! Each priority is delivered up to the prefetch, whatever the others hold, so that any of them can fill all slots.
//! When no slot is free and nothing of a priority has started for a moment, its waiting deliveries go back to the
//! queue, and its subscription ends, if the queue has another consumer. It begins again with as many deliveries as
//! slots are free, and with one once a slot was taken by another priority: that one may be next. A consumer that has
//! the queue to itself keeps what waits, in order.

use std::{sync::atomic::Ordering, time::Duration};

use super::state::ConsumerSession;
use crate::{
    engine::EngineError,
    rabbitmq::consume::priority_channel::{DeliveryStage, PriorityChannel, Slot},
};

/// Time after which waiting deliveries are hoarded ones. With the interval of the checks, they go back within 1.5 s.
const HOARD_AFTER: Duration = Duration::from_millis(500);

impl ConsumerSession {
    fn free_slots(&self) -> u16 {
        let taken = self.plan.shared.handed_out.load(Ordering::SeqCst);
        self.plan.prefetch.saturating_sub(u16::try_from(taken).unwrap_or(u16::MAX))
    }

    /// Asks how many consumers the queues have whose deliveries wait here in vain.
    pub(super) fn look_for_hoards(&mut self) {
        for index in 0..self.channels.len() {
            if self.hoards(index) {
                self.probe(index);
            }
        }
    }

    pub(super) fn hoards(&self, index: usize) -> bool {
        let channel = &self.channels[index];
        let is_late =
            |slot: &Slot| slot.stage == DeliveryStage::Waiting && slot.since.elapsed() > HOARD_AFTER;
        channel.consumer.is_some()
            && self.free_slots() == 0
            && channel.started.elapsed() > HOARD_AFTER
            && channel.window.open().any(|(_, slot)| is_late(slot))
    }

    /// Gives the waiting deliveries of a priority back, and takes no more of them for now.
    pub(super) async fn hold_back(&mut self, index: usize) -> Result<(), EngineError> {
        self.stop_receiving_from(index).await?;
        self.channels[index].held_back = Some(self.starts);
        Ok(())
    }

    /// Subscribes again to the priorities held back, if a slot is free.
    pub(super) async fn fill_free_slots(&mut self) -> Result<(), EngineError> {
        if self.channels.iter().any(|channel| channel.held_back.is_some()) && self.free_slots() > 0 {
            let due = self.channels_that(|channel| channel.held_back.is_some());
            self.subscribe_again(due).await?;
        }
        Ok(())
    }

    /// Subscribes again to the priorities held back since when a job has started, and with more deliveries to those
    /// that were subscribed with fewer than slots are free.
    pub(super) async fn widen(&mut self) -> Result<(), EngineError> {
        let (starts, free) = (self.starts, self.free_slots());
        let due = self.channels_that(|channel| match channel.held_back {
            Some(since) => since != starts,
            None => channel.consumer.is_some() && channel.limit < free,
        });
        self.subscribe_again(due).await
    }

    fn channels_that(&self, is_due: impl Fn(&PriorityChannel) -> bool) -> Vec<usize> {
        let channels = self.channels.iter().enumerate();
        channels.filter(|(_, channel)| is_due(channel)).map(|(index, _)| index).collect()
    }

    async fn subscribe_again(&mut self, due: Vec<usize>) -> Result<(), EngineError> {
        let limit = self.free_slots().max(1);
        for index in due {
            let last = self.channels[index].unsubscribe().await?;
            self.take_last(index, last)?;
            self.channels[index].subscribe(limit).await?;
        }
        Ok(())
    }
}
