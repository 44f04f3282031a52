//! Control of a session: pauses, stops, cancel requests, and queries for held jobs.

use lapin::message::Delivery as RabbitDelivery;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::state::ConsumerSession;
use crate::{
    engine::{EngineError, InspectedJob, Interrupt, JobState},
    envelope::{Envelope, JobId},
    job_store::{Control, NOTED_JOBS_MAX},
    rabbitmq::consume::{
        outcome::DeliveryOutcome,
        priority_channel::{DeliveryStage, Slot},
    },
};

/// Longest error text in a note, in characters.
const NOTED_ERROR_MAX: usize = 200;

impl ConsumerSession {
    /// Subscribes or unsubscribes according to pauses and stops, and ends cancelled jobs.
    pub(super) async fn follow_control(&mut self) -> Result<(), EngineError> {
        let control = self.control.borrow_and_update().clone();
        let stopped = *self.stopped.borrow_and_update();
        if stopped || control.paused.contains(&self.plan.shared.queue) {
            self.stop_receiving().await?;
        } else {
            let prefetch = self.plan.prefetch;
            for channel in &mut self.channels {
                if channel.consumer.is_none() && channel.held_back.is_none() {
                    channel.subscribe(prefetch).await?;
                }
            }
        }
        if !control.cancels.is_empty() {
            self.end_cancelled(&control);
        }
        Ok(())
    }

    /// Unsubscribes, and releases deliveries that were not dispatched.
    pub(super) async fn stop_receiving(&mut self) -> Result<(), EngineError> {
        for channel in 0..self.channels.len() {
            self.stop_receiving_from(channel).await?;
            self.channels[channel].held_back = None;
        }
        Ok(())
    }

    pub(super) async fn stop_receiving_from(&mut self, channel: usize) -> Result<(), EngineError> {
        let last = self.channels[channel].unsubscribe().await?;
        self.take_last(channel, last)?;
        self.give_back(channel, |slot| slot.stage == DeliveryStage::Waiting);
        Ok(())
    }

    /// Receives the last deliveries of a subscription.
    pub(super) fn take_last(&mut self, channel: usize, last: Vec<RabbitDelivery>) -> Result<(), EngineError> {
        let now = Instant::now();
        last.into_iter().try_for_each(|delivery| self.arrived(channel, delivery, now))
    }

    pub(super) fn give_back(&mut self, channel: usize, which: impl Fn(&Slot) -> bool) {
        let open = self.channels[channel].window.open().filter(|(_, slot)| which(slot));
        let tags: Vec<u64> = open.map(|(tag, _)| tag).collect();
        for tag in tags {
            self.conclude(channel, tag, DeliveryOutcome::Again(None));
        }
    }

    fn end_cancelled(&mut self, control: &Control) {
        for channel in 0..self.channels.len() {
            let open = self.channels[channel].window.open();
            let cancelled = open.filter(|(_, slot)| control.cancels.contains_key(&slot.id));
            let cancelled: Vec<u64> = cancelled.map(|(tag, _)| tag).collect();
            for tag in cancelled {
                let Some(slot) = self.channels[channel].window.get(tag) else { continue };
                match slot.stage {
                    DeliveryStage::Running => slot.signal.fire(Interrupt::Cancelled),
                    DeliveryStage::Waiting => self.conclude(channel, tag, DeliveryOutcome::Ended),
                    DeliveryStage::Settling => {}
                }
            }
        }
    }

    pub(super) fn is_cancelled(&self, id: JobId) -> bool {
        let control = self.control.borrow();
        !control.cancels.is_empty() && control.cancels.contains_key(&id)
    }

    pub(super) fn held(&self, id: Option<JobId>) -> Vec<InspectedJob> {
        let wanted = self.slots().filter(|slot| id.is_none_or(|id| slot.id == id));
        wanted.filter_map(inspected).collect()
    }

    /// The held jobs for the consumer's note, those that run first.
    pub(super) fn jobs_to_note(&self) -> Vec<InspectedJob> {
        let running = self.slots().filter(|slot| slot.stage == DeliveryStage::Running);
        let others = self.slots().filter(|slot| slot.stage != DeliveryStage::Running);
        let mut jobs: Vec<_> = running.chain(others).filter_map(inspected).take(NOTED_JOBS_MAX).collect();
        for job in &mut jobs {
            job.envelope.payload = RawValue::NULL.to_owned();
            job.last_error = job.last_error.take().map(|error| error.chars().take(NOTED_ERROR_MAX).collect());
        }
        jobs
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.channels.iter().flat_map(|channel| channel.window.open()).map(|(_, slot)| slot)
    }
}

fn inspected(slot: &Slot) -> Option<InspectedJob> {
    let (envelope, meta) = slot.job()?;
    Some(InspectedJob {
        envelope: Envelope::clone(envelope),
        state: JobState::Running,
        crashes: meta.crashes,
        last_error: meta.last_error.clone(),
        behind: None,
        dead: None,
    })
}
