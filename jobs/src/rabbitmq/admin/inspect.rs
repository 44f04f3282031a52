//! Operator requests: depth, lists, cancel, pause, purge, redrive.

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use futures::future::try_join_all;
use lapin::options::QueuePurgeOptions;

use super::housekeeping::CLAIM_FOR;
use crate::{
    engine::{Cancelled, ConsumerInfo, DeadFilter, Depth, EngineError, InspectedJob, JobFilter, JobState},
    envelope::JobId,
    job::Priority,
    job_store::ScheduledJob,
    rabbitmq::{
        RabbitClient,
        consume::consumer::Command,
        wire::{
            fault::{answer, unavailable},
            ladder::RUNGS,
            topology::{self, dead_queue, delay_queue, work_queue},
        },
    },
};

/// Most jobs returned by one listing.
const LIST_MAX: usize = 1000;
/// Age at which a consumer's note is ignored; each consumer writes one every 20 s at least.
const NOTE_VALID_FOR: Duration = Duration::from_secs(45);

impl RabbitClient {
    pub(crate) async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError> {
        let since = self.ambient.now() - NOTE_VALID_FOR;
        let mut consumers = Vec::new();
        for queue in self.store.queues().await? {
            let notes = self.store.consumers(&queue, since).await?;
            consumers.extend(notes.into_iter().map(|note| ConsumerInfo {
                name: note.name,
                queue: note.queue,
                jobs: note.running,
                alive_until: note.at + NOTE_VALID_FOR,
            }));
        }
        Ok(consumers)
    }

    pub(crate) async fn depth(&self, queue: &str) -> Result<Depth, EngineError> {
        self.require_queues([queue].into()).await?;
        let waiting = Priority::ALL.map(|class| work_queue(queue, class));
        let delays: Vec<String> = (0..RUNGS.len()).map(|rung| delay_queue(queue, rung)).collect();
        let (ready, dead) = (self.count(&waiting).await?, self.count(&[dead_queue(queue)]).await?);
        let delayed = self.count(&delays).await? + self.store.scheduled_count(queue).await?;
        let here = self.consumers_of(queue);
        let mut running: u64 = here.iter().map(|c| c.held.load(Ordering::Relaxed) as u64).sum();
        let mut reached = here.iter().filter_map(|c| c.reached_at()).max();
        let own: HashSet<u64> = here.iter().map(|c| c.session.load(Ordering::Relaxed)).collect();
        let now = self.ambient.now();
        for note in self.store.consumers(queue, now - NOTE_VALID_FOR).await? {
            if !own.contains(&note.session) {
                running += note.running;
                reached = reached.max(note.reached_at);
            }
        }
        let paused = self.control.borrow().paused.contains(queue);
        let oldest_ready_at = reached.filter(|_| ready > 0);
        Ok(Depth { queue: queue.to_owned(), ready, delayed, running, dead, oldest_ready_at, paused })
    }

    async fn count(&self, names: &[String]) -> Result<u64, EngineError> {
        let channel = self.admin.channel().await?;
        let mut sum = 0;
        for name in names {
            let Some(count) = topology::count(&channel, name).await? else {
                return Err(unavailable(format!("broker has no queue `{name}`; declare it")));
            };
            sum += count;
        }
        Ok(sum)
    }

    pub(crate) async fn set_paused(&self, queue: &str, paused: bool) -> Result<(), EngineError> {
        self.require_queues([queue].into()).await?;
        if !self.store.set_paused(queue, paused).await? {
            return Err(EngineError::NoSuchQueue(queue.to_owned()));
        }
        self.refresh_control().await?;
        // Consumers of this handle apply the change before this returns; others at their next refresh.
        for consumer in self.consumers_of(queue) {
            consumer.ask(Command::Obey).await;
        }
        Ok(())
    }

    pub(crate) async fn purge(&self, queue: &str) -> Result<u64, EngineError> {
        self.require_queues([queue].into()).await?;
        let scheduled = self.store.purge(queue).await?;
        let channel = self.admin.channel().await?;
        let classes = Priority::ALL.map(|class| work_queue(queue, class));
        let delays = (0..RUNGS.len()).map(|rung| delay_queue(queue, rung));
        let purge = classes.into_iter().chain(delays).map(|name| {
            let channel = &channel;
            async move { answer(channel.queue_purge(name.into(), QueuePurgeOptions::default())).await }
        });
        Ok(scheduled + try_join_all(purge).await?.into_iter().map(u64::from).sum::<u64>())
    }

    pub(crate) async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError> {
        let removed = self.store.cancel(id, reason, self.ambient.now()).await?;
        if removed {
            return Ok(Cancelled::Removed);
        }
        self.refresh_control().await?;
        Ok(Cancelled::Requested)
    }

    pub(crate) async fn retry_now(&self, id: JobId) -> Result<bool, EngineError> {
        let now = self.ambient.now();
        if let Some(job) = self.store.claim(id, now, now + CLAIM_FOR).await? {
            self.move_to_broker(vec![job], true).await?;
            return Ok(true);
        }
        for queue in self.store.queues().await? {
            let filter = DeadFilter::default();
            if !self.redrive_queue(&queue, &filter, Some(id), 1).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) async fn redrive(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        let mut found = Vec::new();
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        // A dry run reads all queues before it can tell the oldest jobs; a real run goes queue by queue.
        for queue in self.queues_of(filter.queue.as_ref()).await? {
            let left = if filter.dry_run { limit } else { limit - found.len() };
            found.extend(self.redrive_queue(&queue, filter, None, left).await?);
        }
        found.sort_unstable();
        found.truncate(limit);
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    pub(crate) async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError> {
        let wants = |state| filter.state.is_none_or(|wanted| wanted == state);
        let mut jobs = Vec::new();
        if wants(JobState::Delayed) {
            jobs.extend(self.store.scheduled(filter).await?.into_iter().map(delayed));
        }
        for queue in self.queues_of(filter.queue.as_ref()).await? {
            if wants(JobState::Running) {
                jobs.extend(self.running(&queue, None).await);
            }
            if wants(JobState::Dead) {
                jobs.extend(self.dead_jobs(&queue).await?);
            }
        }
        jobs.retain(|job| {
            filter.kind.as_ref().is_none_or(|kind| *kind == job.envelope.kind)
                && filter.after.is_none_or(|after| job.envelope.id > after)
        });
        jobs.sort_by_key(|job| job.envelope.id);
        jobs.truncate(usize::try_from(filter.limit).unwrap_or(LIST_MAX).min(LIST_MAX));
        Ok(jobs)
    }

    pub(crate) async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError> {
        if let Some(job) = self.store.find(id).await? {
            return Ok(Some(delayed(job)));
        }
        let queues = self.store.queues().await?;
        for queue in &queues {
            if let Some(job) = self.running(queue, Some(id)).await.pop() {
                return Ok(Some(job));
            }
        }
        for queue in &queues {
            let dead = self.dead_jobs(queue).await?.into_iter().find(|job| job.envelope.id == id);
            if dead.is_some() {
                return Ok(dead);
            }
        }
        Ok(None)
    }

    /// Jobs held by consumers of this handle; those of other processes are not visible.
    async fn running(&self, queue: &str, id: Option<JobId>) -> Vec<InspectedJob> {
        let mut jobs = Vec::new();
        for consumer in self.consumers_of(queue) {
            jobs.extend(consumer.ask(|reply| Command::Held(id, reply)).await.unwrap_or_default());
        }
        jobs
    }

    async fn queues_of(&self, only: Option<&String>) -> Result<Vec<String>, EngineError> {
        let mut queues = self.store.queues().await?;
        queues.retain(|queue| only.is_none_or(|only| only == queue));
        Ok(queues)
    }
}

fn delayed(job: ScheduledJob) -> InspectedJob {
    let (crashes, last_error) = (job.crashes, job.last_error);
    InspectedJob { envelope: job.envelope, state: JobState::Delayed, crashes, last_error, dead: None }
}
