//! Admission of jobs of fair queues: straight to the broker, or into the backlog in the job store.

use std::collections::BTreeMap;

use base::Timestamp;
use tokio::time::{Instant, timeout};

use super::views::HoldingCall;
use crate::{
    engine::EngineError,
    envelope::Envelope,
    error::describe,
    job::Priority,
    job_store::{HELD_AT_ONCE_MAX, ScheduledJob},
    rabbitmq::{
        client::RabbitClient,
        publish::{
            batch::Outgoing,
            route::{STORE_PATIENCE, scheduled},
        },
        wire::{headers::Meta, message::encode, topology::work_queue},
    },
};

/// Jobs that are to be held in the store. While this exists, later jobs of their queues are held, too.
pub(in crate::rabbitmq) struct HeldBack {
    jobs: Vec<ScheduledJob>,
    _calls: Vec<HoldingCall>,
}

impl RabbitClient {
    /// Reads which queues are fair, and which of them have jobs in the store.
    pub(in crate::rabbitmq) async fn refresh_fair(&self) -> Result<(), EngineError> {
        let began = Instant::now();
        self.fair.learn(&self.store.fair_queues().await?, began);
        Ok(())
    }

    /// Divides ready jobs of fair queues: those that go to the broker now, and those that the store holds, in order.
    pub(in crate::rabbitmq) async fn admit(&self, jobs: Vec<ScheduledJob>) -> (Vec<Outgoing>, HeldBack) {
        let mut wanted: BTreeMap<(String, Priority), u64> = BTreeMap::new();
        for ScheduledJob { envelope, .. } in &jobs {
            *wanted.entry((envelope.queue.clone(), envelope.priority)).or_default() += 1;
        }
        let (mut direct, mut held, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for ((queue, priority), left) in &mut wanted {
            let (room, call) = self.room_for(queue, *priority, *left).await;
            *left = room;
            calls.extend(call);
        }
        for job in jobs {
            let of = (job.envelope.queue.clone(), job.envelope.priority);
            match wanted.get_mut(&of).filter(|left| **left > 0) {
                Some(left) => {
                    *left -= 1;
                    direct.push(message_of(&job));
                }
                None => held.push(job),
            }
        }
        (direct, HeldBack { jobs: held, _calls: calls })
    }

    /// Holds jobs in the store, or publishes them where that fails.
    pub(in crate::rabbitmq) async fn hold(&self, held: HeldBack) -> Result<(), EngineError> {
        for jobs in held.jobs.chunks(HELD_AT_ONCE_MAX) {
            if self.fair.is_suspended() || !self.hold_in_store(jobs).await {
                self.publisher.publish(jobs.iter().map(message_of).collect()).await?;
            }
        }
        if !held.jobs.is_empty() {
            self.fair.wake();
        }
        Ok(())
    }

    /// [`Self::admit`], then both ways.
    pub(in crate::rabbitmq) async fn publish_fairly(
        &self,
        jobs: Vec<ScheduledJob>,
    ) -> Result<(), EngineError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let (direct, held) = self.admit(jobs).await;
        // First, so that no job overtakes an earlier one of its key.
        self.publisher.publish(direct).await?;
        self.hold(held).await
    }

    /// Routes a job that runs again at this time; durable when this returns. While jobs of its fair queue wait in the
    /// store, it waits there, too: a flood of retries would fill the broker's queue.
    pub(in crate::rabbitmq) async fn requeue_fairly(
        &self,
        envelope: &Envelope,
        meta: Meta,
        at: Timestamp,
    ) -> Result<(), EngineError> {
        if self.fair.is_contended(&envelope.queue, envelope.priority) && !self.fair.is_suspended() {
            let job = scheduled(envelope, meta.clone(), at);
            let is_due = at <= self.ambient.now();
            let stored = if is_due { self.hold_in_store(&[job]).await } else { self.schedule(job).await };
            if stored {
                return Ok(());
            }
        }
        self.requeue(envelope, meta, Some(at)).await
    }

    async fn room_for(&self, queue: &str, priority: Priority, wanted: u64) -> (u64, Option<HoldingCall>) {
        // While nothing can be published, publishing tells the caller so.
        if self.fair.is_suspended() || self.publisher.wait_until_up().await.is_err() {
            return (wanted, None);
        }
        if self.fair.is_stale(queue, priority, wanted) {
            let asked = timeout(STORE_PATIENCE, self.view(queue, priority)).await;
            if let Some(error) = failure(asked) {
                self.fair.suspend(&error);
                return (wanted, None);
            }
            self.fair.resume();
        }
        let room = self.fair.take_room(queue, priority, wanted);
        self.fair.count_ahead(queue, priority);
        room
    }

    async fn view(&self, queue: &str, priority: Priority) -> Result<(), EngineError> {
        let is_store_stale = self.fair.is_store_stale(queue, priority);
        self.count_ready(queue, priority).await?;
        if is_store_stale { self.refresh_fair().await } else { Ok(()) }
    }

    /// Counts the broker's queue.
    pub(super) async fn count_ready(&self, queue: &str, priority: Priority) -> Result<u64, EngineError> {
        let ready = self.count(&[work_queue(queue, priority)]).await?;
        self.fair.counted(queue, priority, ready);
        Ok(ready)
    }

    /// Whether the store has taken the jobs; else fairness is suspended.
    async fn hold_in_store(&self, jobs: &[ScheduledJob]) -> bool {
        let failed = failure(timeout(STORE_PATIENCE, self.store.hold(jobs.to_vec())).await);
        if let Some(error) = &failed {
            self.fair.suspend(error);
        }
        failed.is_none()
    }
}

/// The text of an error or of a late answer.
fn failure(asked: Result<Result<(), EngineError>, tokio::time::error::Elapsed>) -> Option<String> {
    match asked {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(describe(&error)),
        Err(_) => Some("no answer in time".to_owned()),
    }
}

/// The message of a job that may start now.
pub(super) fn message_of(job: &ScheduledJob) -> Outgoing {
    let meta = Meta {
        crashes: job.crashes,
        last_error: job.last_error.clone(),
        first_failed_at: job.first_failed_at,
        ..Meta::default()
    };
    let routing_key = work_queue(&job.envelope.queue, job.envelope.priority);
    Outgoing::to_queue(routing_key, encode(&job.envelope, &meta))
}
