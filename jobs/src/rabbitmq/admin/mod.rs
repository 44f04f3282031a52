//! Inspection and control of queues: depths, listings, the dead queue, migration, and the engine's housekeeping.

mod cancel;
mod dead;
pub(super) mod housekeeping;
mod inspect;
mod migrate;

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures::future::try_join_all;
use lapin::options::QueuePurgeOptions;

use self::{
    housekeeping::CLAIM_FOR,
    inspect::{NOTE_VALID_FOR, delayed},
};
use super::{
    client::RabbitEngine,
    consume::consumer::Command,
    wire::{
        fault::answer,
        ladder::RUNGS,
        topology::{self, dead_queue, delay_queue, work_queue},
    },
};
use crate::{
    engine::{
        Admin, Cancelled, ConsumerInfo, DeadFilter, Depth, EngineError, InspectedJob, JobFilter, JobState,
        LIST_MAX, QueueSpec,
    },
    envelope::JobId,
    job::Priority,
};

#[async_trait]
impl Admin for RabbitEngine {
    async fn depth(&self, queue: &str) -> Result<Depth, EngineError> {
        let client = &self.client;
        client.refresh_control().await?;
        client.require_queues([queue].into()).await?;
        let (ready, dead) = (client.ready_count(queue).await?, client.count(&[dead_queue(queue)]).await?);
        let delayed = client.short_delay_count(queue).await? + client.store.scheduled_count(queue).await?;
        let here = client.consumers_of(queue);
        let here: u64 = here.iter().map(|c| c.held.load(Ordering::Relaxed) as u64).sum();
        let others = client.notes_of_others(queue).await?;
        let running = here + others.iter().map(|note| note.running).sum::<u64>();
        let paused = client.control.borrow().paused.contains(queue);
        let reached = client.reached(queue, &others).max(client.store.reached_at(queue).await?);
        let oldest_ready_at = reached.filter(|_| ready > 0);
        Ok(Depth { queue: queue.to_owned(), ready, delayed, running, dead, oldest_ready_at, paused })
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        self.client.store.queues().await
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError> {
        let since = self.client.ambient.now() - NOTE_VALID_FOR;
        let mut consumers = Vec::new();
        for queue in self.queues().await? {
            let notes = self.client.store.consumers(&queue, since).await?;
            consumers.extend(notes.into_iter().map(|note| ConsumerInfo {
                name: note.name,
                queue: note.queue,
                jobs: note.running,
                alive_until: note.at + NOTE_VALID_FOR,
            }));
        }
        Ok(consumers)
    }

    async fn set_paused(&self, queue: &str, paused: bool) -> Result<(), EngineError> {
        let client = &self.client;
        client.require_queues([queue].into()).await?;
        if !client.store.set_paused(queue, paused).await? {
            return Err(EngineError::NoSuchQueue(queue.to_owned()));
        }
        client.refresh_control().await?;
        // Consumers of this handle apply the change before this returns; others at their next refresh.
        for consumer in client.consumers_of(queue) {
            consumer.ask(Command::ApplyControl).await;
        }
        Ok(())
    }

    async fn purge(&self, queue: &str) -> Result<u64, EngineError> {
        self.client.require_queues([queue].into()).await?;
        let scheduled = self.client.store.purge(queue).await?;
        let channel = self.client.admin.channel().await?;
        let classes = Priority::ALL.map(|class| work_queue(queue, class));
        let delays = (0..RUNGS.len()).map(|rung| delay_queue(queue, rung));
        let purge = classes.into_iter().chain(delays).map(|name| {
            let channel = &channel;
            async move { answer(channel.queue_purge(name.into(), QueuePurgeOptions::default())).await }
        });
        Ok(scheduled + try_join_all(purge).await?.into_iter().map(u64::from).sum::<u64>())
    }

    async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError> {
        let client = &self.client;
        if client.store.cancel(id, reason, client.ambient.now()).await? {
            return Ok(Cancelled::Removed);
        }
        client.refresh_control().await?;
        if client.may_hold(id).await? {
            return Ok(Cancelled::Requested);
        }
        client.store.forget_cancels(&[id]).await?;
        Ok(Cancelled::NotFound)
    }

    async fn retry_now(&self, id: JobId) -> Result<bool, EngineError> {
        let now = self.client.ambient.now();
        if let Some(job) = self.client.store.claim(id, now, now + CLAIM_FOR).await? {
            self.client.move_to_broker(vec![job], true).await?;
            return Ok(true);
        }
        for queue in self.queues().await? {
            let filter = DeadFilter::default();
            if !self.client.redrive_queue(&queue, &filter, Some(id), 1).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError> {
        let client = &self.client;
        let wants = |state| filter.state.is_none_or(|wanted| wanted == state);
        let mut jobs = Vec::new();
        if wants(JobState::Delayed) {
            jobs.extend(client.store.scheduled(filter).await?.into_iter().map(delayed));
        }
        for queue in client.queues_of(filter.queue.as_ref()).await? {
            if wants(JobState::Running) {
                jobs.extend(client.running_here(&queue, None).await);
                jobs.extend(client.notes_of_others(&queue).await?.into_iter().flat_map(|note| note.jobs));
            }
            if wants(JobState::Dead) {
                jobs.extend(client.dead_jobs(&queue).await?);
            }
        }
        jobs.retain(|job| {
            filter.kind.as_ref().is_none_or(|kind| *kind == job.envelope.kind)
                && filter.after.is_none_or(|after| job.envelope.id > after)
        });
        // A note may lag: what the broker or the job store says of its job counts.
        jobs.sort_by_key(|job| (job.envelope.id, job.state == JobState::Running));
        jobs.dedup_by(|job, known| job.state == JobState::Running && job.envelope.id == known.envelope.id);
        jobs.truncate(filter.limit.min(LIST_MAX) as usize);
        Ok(jobs)
    }

    async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError> {
        if let Some(job) = self.client.store.find(id).await? {
            return Ok(Some(delayed(job)));
        }
        let queues = self.queues().await?;
        for queue in &queues {
            if let Some(job) = self.client.running_here(queue, Some(id)).await.pop() {
                return Ok(Some(job));
            }
        }
        for queue in &queues {
            let dead = self.client.dead_jobs(queue).await?.into_iter().find(|job| job.envelope.id == id);
            if dead.is_some() {
                return Ok(dead);
            }
        }
        // Last, as notes may lag.
        for queue in &queues {
            let mut noted = self.client.notes_of_others(queue).await?.into_iter().flat_map(|note| note.jobs);
            if let Some(job) = noted.find(|job| job.envelope.id == id) {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        let mut found = Vec::new();
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        // A dry run reads all queues before it can tell the oldest jobs; a real run goes queue by queue.
        for queue in self.client.queues_of(filter.queue.as_ref()).await? {
            let left = if filter.dry_run { limit } else { limit - found.len() };
            found.extend(self.client.redrive_queue(&queue, filter, None, left).await?);
        }
        found.sort_unstable();
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    async fn migrate_queue(&self, queue: &str) -> Result<u64, EngineError> {
        QueueSpec::new(queue).check()?;
        let mut moved = 0;
        for shape in topology::shapes(queue) {
            moved += self.client.migrate_one(queue, shape).await?;
        }
        topology::declare(&self.client.admin.channel().await?, queue).await?;
        Ok(moved)
    }
}
