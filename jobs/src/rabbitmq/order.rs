//! Order keys over a broker, which knows no keys: of each key one job, its head, is on its way, all others wait in the
//! job store behind it.
//!
//! A job with an order key is stored by publishing, never sent to the broker at once. If it is the head of its key, it
//! is a scheduled job from then on, and due; else it becomes that when the one before it ends. From there its way is
//! that of any job: fair queues, retries by the delay ladder, snoozes and suspects know nothing of keys. An ended job
//! passes its key on before its delivery is acknowledged, a dead one in the transaction that stores it; the task here
//! publishes the next one at once, and the housekeeping of any process within a second.
//!
//! Guarantees: a delivery starts only while its job is the head of its key; of two copies that a crash has left, the
//! second is dropped once the first has ended. A head outlives its worker as every message does, so a key needs no
//! lease. While the job store is away, no such job starts, and one that has ended keeps its slot: its key must not be
//! lost. Two copies of a job that run at the same moment in two processes are not told apart: the first one that ends
//! passes the key on.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::timeout;

use super::{client::RabbitClient, publish::route::STORE_PATIENCE, wire::fault::unavailable};
use crate::{
    engine::{EngineError, InspectedJob, JobState},
    envelope::{Envelope, JobId},
    error::describe,
    job_store::{LINED_UP_AT_ONCE_MAX, ScheduledJob},
};

/// Interval of looking whether the engine handle still exists.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Publishes heads of keys as this process makes them due; runs until the engine handle is dropped.
pub(super) async fn run(client: Weak<RabbitClient>) {
    let Some(woken) = client.upgrade().map(|client| Arc::clone(&client.heads_due)) else { return };
    loop {
        let is_woken = timeout(LOOK_EVERY, woken.notified()).await.is_ok();
        let Some(client) = client.upgrade() else { return };
        if is_woken && let Err(error) = client.publish_due().await {
            // The housekeeping tries again within a second, and tells of it.
            tracing::debug!(error = describe(&error), "next jobs of order keys not published yet");
        }
    }
}

impl RabbitClient {
    /// Stores jobs with order keys, in the order of their publishing.
    pub(super) async fn line_up(&self, jobs: Vec<ScheduledJob>) -> Result<(), EngineError> {
        for jobs in jobs.chunks(LINED_UP_AT_ONCE_MAX) {
            self.store.line_up(jobs.to_vec(), self.ambient.now()).await?;
        }
        if !jobs.is_empty() {
            self.heads_due.notify_one();
        }
        Ok(())
    }

    /// Whether a delivery may start; not when its job does not hold its order key.
    pub(super) async fn holds_order_key(&self, envelope: &Envelope) -> Result<bool, EngineError> {
        let Some(key) = &envelope.order_key else { return Ok(true) };
        self.store.take_key(&envelope.queue, key, envelope.id, self.ambient.now()).await
    }

    /// Passes on the order key of a job that has ended.
    pub(super) async fn end_turn(&self, id: JobId) -> Result<(), EngineError> {
        let passed = timeout(STORE_PATIENCE, self.store.pass_on(&[id], self.ambient.now())).await;
        passed.unwrap_or_else(|_| Err(unavailable("no answer from the job store in time")))?;
        self.heads_due.notify_one();
        Ok(())
    }

    /// Tells of each job that waits behind another one of its key which that is.
    pub(super) async fn tell_heads(&self, jobs: &mut [InspectedJob]) -> Result<(), EngineError> {
        let waits = |job: &&InspectedJob| job.state == JobState::Delayed && job.envelope.order_key.is_some();
        let ids: Vec<JobId> = jobs.iter().filter(waits).map(|job| job.envelope.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let heads: HashMap<JobId, JobId> = self.store.heads_of(&ids).await?.into_iter().collect();
        for job in jobs {
            job.behind = heads.get(&job.envelope.id).copied();
        }
        Ok(())
    }
}
