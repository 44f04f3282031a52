//! Inspection and control of queues: depths, listings, dead jobs, queues of earlier releases, and the engine's
//! background tasks.

mod cancel;
mod dead;
pub(super) mod housekeeping;
mod inspect;
pub(super) mod ladder;
pub(super) mod mailbox;
pub(super) mod older;
mod sample;

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures::future::try_join_all;
use lapin::{Channel, options::QueuePurgeOptions};

use self::{
    housekeeping::CLAIM_FOR,
    inspect::{NOTE_VALID_FOR, waiting},
};
use super::{
    client::RabbitEngine,
    consume::consumer::Command,
    wire::{
        fault::answer,
        topology::{dead_queue, work_queue},
    },
};
use crate::{
    engine::{
        Admin, Alteration, Cancelled, ConsumerInfo, DeadFilter, Depth, EngineError, FairKey, InspectedJob,
        JobFilter, JobState, LIST_MAX, page::read_page,
    },
    envelope::JobId,
    job::Priority,
    job_store::DeadJob,
};

#[async_trait]
impl Admin for RabbitEngine {
    async fn depth(&self, queue: &str) -> Result<Depth, EngineError> {
        self.depth_up_to(queue, u64::MAX).await
    }

    async fn depth_up_to(&self, queue: &str, most: u64) -> Result<Depth, EngineError> {
        let client = &self.client;
        client.refresh_control().await?;
        client.require_queues([queue].into()).await?;
        let (ready, backlog) = client.ready_and_backlog(queue).await?;
        let dead = client.store.dead_count(queue, most).await? + client.count(&[dead_queue(queue)]).await?;
        let delayed = client.store.scheduled_count(queue, most).await?;
        let here = client.consumers_of(queue);
        let here: u64 = here.iter().map(|c| c.held.load(Ordering::Relaxed) as u64).sum();
        let others = client.notes_of_others(queue).await?;
        let running = here + others.iter().map(|note| note.running).sum::<u64>();
        let paused = client.control.borrow().paused.contains(queue);
        let reached = client.reached(queue, &others).max(client.store.reached_at(queue).await?);
        // In a fair queue consumers reach jobs that are younger than others which wait for their turn.
        let oldest_ready_at = [reached, backlog.oldest].into_iter().flatten().min().filter(|_| ready > 0);
        Ok(Depth { queue: queue.to_owned(), ready, delayed, running, dead, oldest_ready_at, paused })
    }

    async fn short_delays(&self) -> Result<u64, EngineError> {
        self.client.short_delays().await
    }

    async fn fair_keys(&self, queue: &str, most: u32) -> Result<Option<Vec<FairKey>>, EngineError> {
        let store = &self.client.store;
        if !store.fair_queues().await?.iter().any(|fair| fair.name == queue) {
            return Ok(None);
        }
        store.waiting_keys(queue, most.min(LIST_MAX)).await.map(Some)
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
        let client = &self.client;
        client.require_queues([queue].into()).await?;
        let began = client.ambient.now();
        let channel = client.admin.channel().await?;
        let ready = purge_broker(&channel, queue).await?;
        // The keys afterwards: until then, no other job takes the place of one that may still start.
        let mut running = client.running_here(queue, None).await;
        running.extend(client.notes_of_others(queue).await?.into_iter().flat_map(|note| note.jobs));
        let running: Vec<JobId> = running.iter().map(|job| job.envelope.id).collect();
        let stored = client.store.purge(queue, began, &running).await?;
        // What was on its way from the backlog to the broker.
        let moved = if client.fair.is_fair(queue) { purge_broker(&channel, queue).await? } else { 0 };
        Ok(ready + stored + moved)
    }

    async fn cancel(&self, id: JobId, reason: &str) -> Result<Cancelled, EngineError> {
        let client = &self.client;
        if client.store.cancel(id, reason, client.ambient.now()).await? {
            client.heads_due.notify_one();
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
        if let Some(mut job) = self.client.store.claim(id, now, now + CLAIM_FOR).await? {
            if job.behind {
                (job.due_at, job.envelope.run_at) = (now, None);
                self.client.store.schedule(vec![job]).await?;
                return Ok(true);
            }
            self.client.move_to_broker(vec![job], true).await?;
            return Ok(true);
        }
        self.client.drain_all().await?;
        let redriven = self.client.publish_again(&[id]).await?;
        match redriven.not_unique.first() {
            Some(&(id, holder)) => Err(EngineError::NotUnique { id, holder }),
            None => Ok(!redriven.ids.is_empty()),
        }
    }

    async fn alter(&self, id: JobId, alteration: Alteration) -> Result<bool, EngineError> {
        let client = &self.client;
        if let Alteration::Queue(queue) = &alteration {
            client.require_queues([queue.as_str()].into()).await?;
        }
        let now = client.ambient.now();
        // Under the claim no process publishes the job as it was.
        let Some(mut job) = client.store.claim(id, now, now + CLAIM_FOR).await? else { return Ok(false) };
        match alteration {
            Alteration::RunAt(at) => (job.due_at, job.envelope.run_at) = (at, Some(at)),
            Alteration::Queue(queue) => {
                job.envelope.queue = queue;
                if job.envelope.order_key.is_some() {
                    let altered = client.store.change_line(job, now).await?;
                    client.heads_due.notify_one();
                    return Ok(altered);
                }
            }
            Alteration::Priority(priority) => job.envelope.priority = priority,
        }
        client.store.schedule(vec![job]).await?;
        Ok(true)
    }

    async fn list(&self, filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError> {
        let client = &self.client;
        let wants = |state| filter.state.is_none_or(|wanted| wanted == state);
        let (mut jobs, mut ends) = (Vec::new(), Vec::new());
        if wants(JobState::Ready) || wants(JobState::Delayed) {
            let page = read_page(filter, |after, limit| client.scheduled_chunk(filter, after, limit)).await?;
            ends.extend(page.end());
            jobs.extend(page.jobs.into_iter().map(waiting));
        }
        if wants(JobState::Dead) {
            let page = client.store.dead_jobs(filter).await?;
            ends.extend(page.end());
            jobs.extend(page.jobs.into_iter().map(DeadJob::inspected));
        }
        for queue in client.queues_of(filter.queue.as_ref()).await? {
            if wants(JobState::Running) {
                jobs.extend(client.running_here(&queue, None).await);
                jobs.extend(client.notes_of_others(&queue).await?.into_iter().flat_map(|note| note.jobs));
            }
        }
        if let Some(end) = ends.into_iter().min() {
            // Jobs with later ids belong to the next page: others may come before them.
            jobs.retain(|job| job.envelope.id <= end);
        }
        jobs.retain(|job| {
            filter.kind.as_ref().is_none_or(|kind| *kind == job.envelope.kind)
                && filter.after.is_none_or(|after| job.envelope.id > after)
        });
        // A note may lag: what the broker or the job store says of its job counts.
        jobs.sort_by_key(|job| (job.envelope.id, job.state == JobState::Running));
        jobs.dedup_by(|job, known| job.state == JobState::Running && job.envelope.id == known.envelope.id);
        jobs.truncate(filter.limit.min(LIST_MAX) as usize);
        client.tell_heads(&mut jobs).await?;
        Ok(jobs)
    }

    async fn sample_ready(&self, queue: &str, limit: u32) -> Result<Vec<InspectedJob>, EngineError> {
        self.client.sample(queue, limit.min(LIST_MAX)).await
    }

    async fn find(&self, id: JobId) -> Result<Option<InspectedJob>, EngineError> {
        if let Some(job) = self.client.store.find(id).await? {
            let mut found = [waiting(job)];
            self.client.tell_heads(&mut found).await?;
            let [job] = found;
            return Ok(Some(job));
        }
        let queues = self.queues().await?;
        for queue in &queues {
            if let Some(job) = self.client.running_here(queue, Some(id)).await.pop() {
                return Ok(Some(job));
            }
        }
        if let Some(job) = self.client.store.find_dead(id).await? {
            return Ok(Some(job.inspected()));
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
        if !filter.dry_run && filter.id.is_none() {
            self.client.drain_all().await?;
        }
        self.client.redrive_matching(filter).await
    }

    async fn drop_dead(&self, filter: &DeadFilter) -> Result<u64, EngineError> {
        if !filter.dry_run && filter.id.is_none() {
            self.client.drain_all().await?;
        }
        self.client.store.drop_dead(filter).await
    }
}

/// Deletes the ready messages of a job queue; returns how many.
async fn purge_broker(channel: &Channel, queue: &str) -> Result<u64, EngineError> {
    let purge = Priority::ALL
        .map(|priority| work_queue(queue, priority))
        .map(|name| answer(channel.queue_purge(name.into(), QueuePurgeOptions::default())));
    Ok(try_join_all(purge).await?.into_iter().map(u64::from).sum())
}
