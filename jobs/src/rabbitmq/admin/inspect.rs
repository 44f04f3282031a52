//! Parts of inspection: message counts, jobs held by consumers, the age of a queue's oldest ready job.

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use base::Timestamp;

use crate::{
    engine::{EngineError, InspectedJob, JobFilter, JobState},
    envelope::{Envelope, JobId},
    job::Priority,
    job_store::{Backlog, ConsumerNote, FAIR_BACKLOG_MAX, ScheduledJob},
    rabbitmq::{
        client::RabbitClient,
        consume::consumer::Command,
        wire::{
            ladder::RUNGS,
            topology::{self, work_queue},
        },
    },
};

/// Age at which a consumer's note is ignored; each consumer writes one every 20 s at least.
pub(super) const NOTE_VALID_FOR: Duration = Duration::from_secs(45);

impl RabbitClient {
    /// Ready messages in these broker queues. One that was deleted is declared again, as by publishing.
    pub(in crate::rabbitmq) async fn count(&self, names: &[String]) -> Result<u64, EngineError> {
        let mut channel = self.admin.spare_channel().await?;
        let mut sum = 0;
        for name in names {
            let Some(count) = topology::count(&channel, name).await? else {
                // The server has closed the channel.
                channel = self.admin.channel().await?;
                topology::declare_missing(&channel, topology::job_queue_of(name)).await?;
                continue;
            };
            sum += count;
        }
        self.admin.give_back(channel);
        Ok(sum)
    }

    /// Whether a queue has ready jobs, in the broker or in the backlog.
    pub(super) async fn has_ready(&self, queue: &str) -> Result<bool, EngineError> {
        Ok(self.ready_up_to(queue, 1).await?.0 > 0)
    }

    /// Ready jobs of a queue, with the backlog that they include, which is counted up to [`FAIR_BACKLOG_MAX`].
    pub(super) async fn ready_and_backlog(&self, queue: &str) -> Result<(u64, Backlog), EngineError> {
        self.ready_up_to(queue, FAIR_BACKLOG_MAX).await
    }

    async fn ready_up_to(&self, queue: &str, most: u32) -> Result<(u64, Backlog), EngineError> {
        let backlog = self.store.backlog(queue, most).await?;
        let in_broker = self.count(&Priority::ALL.map(|class| work_queue(queue, class))).await?;
        Ok((backlog.jobs + in_broker, backlog))
    }

    /// Jobs of all queues in short delays. Declares the rungs, as a look at a missing one would close the channel.
    pub(super) async fn short_delays(&self) -> Result<u64, EngineError> {
        let channel = self.admin.channel().await?;
        let mut sum = 0;
        for rung in 0..RUNGS.len() {
            sum += topology::declare_rung(&channel, rung).await?;
        }
        Ok(sum)
    }

    /// A part of a listing of scheduled jobs.
    pub(super) async fn scheduled_chunk(
        &self,
        filter: &JobFilter,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Vec<ScheduledJob>, EngineError> {
        self.store.scheduled(&JobFilter { after, limit, ..filter.clone() }).await
    }

    /// Jobs held by consumers of this handle.
    pub(super) async fn running_here(&self, queue: &str, id: Option<JobId>) -> Vec<InspectedJob> {
        let mut jobs = Vec::new();
        for consumer in self.consumers_of(queue) {
            jobs.extend(consumer.ask(|reply| Command::Held(id, reply)).await.unwrap_or_default());
        }
        jobs
    }

    /// Notes of a queue's live consumers in other processes.
    pub(super) async fn notes_of_others(&self, queue: &str) -> Result<Vec<ConsumerNote>, EngineError> {
        let here = self.consumers_of(queue);
        let own: HashSet<u64> = here.iter().map(|c| c.session.load(Ordering::Relaxed)).collect();
        let mut notes = self.store.consumers(queue, self.ambient.now() - NOTE_VALID_FOR).await?;
        notes.retain(|note| !own.contains(&note.session));
        Ok(notes)
    }

    /// Ready time of the youngest job that a live consumer has received: jobs still ready are younger.
    pub(super) fn reached(&self, queue: &str, others: &[ConsumerNote]) -> Option<Timestamp> {
        let here = self.consumers_of(queue);
        let here = here.iter().filter_map(|consumer| consumer.reached_at());
        here.chain(others.iter().filter_map(|note| note.reached_at)).max()
    }

    /// Notes a time that no ready job is older than, for the time without consumers: now if none is ready, else that
    /// which consumers have reached.
    pub(in crate::rabbitmq) async fn observe(&self, queue: &str) -> Result<(), EngineError> {
        let now = self.ambient.now();
        let reached = if self.has_ready(queue).await? {
            self.reached(queue, &self.notes_of_others(queue).await?)
        } else {
            Some(now)
        };
        match reached {
            Some(at) => self.store.raise_reached(queue, at).await,
            None => Ok(()),
        }
    }

    pub(super) async fn queues_of(&self, only: Option<&String>) -> Result<Vec<String>, EngineError> {
        let mut queues = self.store.queues().await?;
        queues.retain(|queue| only.is_none_or(|only| only == queue));
        Ok(queues)
    }
}

/// A job of the store, which waits for its time, for its turn, or behind another job of its order key.
pub(super) fn waiting(job: ScheduledJob) -> InspectedJob {
    let (crashes, last_error) = (job.crashes, job.last_error);
    let (state, envelope) = if job.fair {
        (JobState::Ready, job.envelope)
    } else if job.behind {
        (JobState::Delayed, job.envelope)
    } else {
        (JobState::Delayed, Envelope { run_at: Some(job.due_at), ..job.envelope })
    };
    InspectedJob { envelope, state, crashes, last_error, behind: None, dead: None }
}
