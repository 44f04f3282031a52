//! Search for the holder of a job that shall be cancelled.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    engine::{EngineError, InspectedJob},
    envelope::JobId,
    rabbitmq::client::RabbitClient,
};

/// Time after which every consumer's note names a job that was delivered before it.
const NOTED_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl RabbitClient {
    /// False when no message waits in the broker and no consumer holds the job. The request must be stored already: a
    /// job that is delivered meanwhile ends by it.
    pub(super) async fn may_hold(&self, id: JobId) -> Result<bool, EngineError> {
        let deadline = Instant::now() + NOTED_WITHIN;
        if self.any_waits().await? {
            return Ok(true);
        }
        loop {
            let last = Instant::now() >= deadline;
            if self.is_running(id, last).await? || !self.store.control().await?.cancels.contains_key(&id) {
                return Ok(true);
            }
            if last {
                return self.any_waits().await;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn any_waits(&self) -> Result<bool, EngineError> {
        for queue in self.store.queues().await? {
            if self.has_ready(&queue).await? {
                return Ok(true);
            }
        }
        Ok(self.short_delays().await? > 0)
    }

    /// Whether a consumer holds the job; with `unnamed`, also whether one holds jobs that its note does not name.
    async fn is_running(&self, id: JobId, unnamed: bool) -> Result<bool, EngineError> {
        for queue in self.store.queues().await? {
            if !self.running_here(&queue, Some(id)).await.is_empty() {
                return Ok(true);
            }
            let notes = self.notes_of_others(&queue).await?;
            let names = |jobs: &[InspectedJob]| jobs.iter().any(|job| job.envelope.id == id);
            if notes
                .iter()
                .any(|note| names(&note.jobs) || (unnamed && note.running > note.jobs.len() as u64))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
