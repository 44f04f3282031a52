//! Parts of inspection: message counts, jobs held by consumers, the age of a queue's oldest ready job.

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use base::Timestamp;

use crate::{
    engine::{EngineError, InspectedJob, JobState},
    envelope::JobId,
    job::Priority,
    job_store::{ConsumerNote, ScheduledJob},
    rabbitmq::{
        client::RabbitClient,
        consume::consumer::Command,
        wire::{
            fault::unavailable,
            ladder::RUNGS,
            topology::{self, delay_queue, work_queue},
        },
    },
};

/// Age at which a consumer's note is ignored; each consumer writes one every 20 s at least.
pub(super) const NOTE_VALID_FOR: Duration = Duration::from_secs(45);

impl RabbitClient {
    /// Ready messages in these broker queues.
    pub(super) async fn count(&self, names: &[String]) -> Result<u64, EngineError> {
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

    pub(super) async fn ready_count(&self, queue: &str) -> Result<u64, EngineError> {
        self.count(&Priority::ALL.map(|class| work_queue(queue, class))).await
    }

    /// Jobs of a queue in short delays.
    pub(super) async fn short_delay_count(&self, queue: &str) -> Result<u64, EngineError> {
        let delays: Vec<String> = (0..RUNGS.len()).map(|rung| delay_queue(queue, rung)).collect();
        self.count(&delays).await
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
        let reached = match self.ready_count(queue).await? {
            0 => Some(now),
            _ => self.reached(queue, &self.notes_of_others(queue).await?),
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

pub(super) fn delayed(job: ScheduledJob) -> InspectedJob {
    let (crashes, last_error) = (job.crashes, job.last_error);
    InspectedJob { envelope: job.envelope, state: JobState::Delayed, crashes, last_error, dead: None }
}
