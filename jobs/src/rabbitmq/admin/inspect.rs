//! Parts of inspection: message counts, jobs held by consumers of this handle.

use std::time::Duration;

use crate::{
    engine::{EngineError, InspectedJob, JobState},
    envelope::JobId,
    job_store::ScheduledJob,
    rabbitmq::{
        client::RabbitClient,
        consume::consumer::Command,
        wire::{fault::unavailable, topology},
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

    /// Jobs held by consumers of this handle; those of other processes are not visible.
    pub(super) async fn running(&self, queue: &str, id: Option<JobId>) -> Vec<InspectedJob> {
        let mut jobs = Vec::new();
        for consumer in self.consumers_of(queue) {
            jobs.extend(consumer.ask(|reply| Command::Held(id, reply)).await.unwrap_or_default());
        }
        jobs
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
