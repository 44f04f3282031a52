//! Publishing queue by queue, after a batch of all queues has failed: one queue that takes nothing, for instance because
//! the broker has lost its quorum or an operator's policy limits its length, holds up no job of another queue.
//!
//! Guarantees: a message is sent once all its jobs are confirmed; later messages of its subject wait for it. Messages of
//! a queue that has taken nothing for [`ROUNDS_MAX`] rounds in a row, while others did, are set aside, so that they do
//! not fill every batch. Does not help while a whole batch is for that queue, which cannot be told from an engine that
//! takes nothing at all: an error of the round.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use base::time::between;
use jobs::{Envelope, JobError, engine::EngineError, error::describe};

use super::{Batch, LEASE, PUBLISH_MAX, Relay};

/// Rounds in a row in which a queue may take nothing; in the next one its messages are set aside.
const ROUNDS_MAX: u32 = 3;
/// Time after which no further queue is tried, so that a round ends within the lease of its batch.
const TRY_FOR: Duration = Duration::from_secs(LEASE.as_secs() / 2);

/// The queues that took nothing, with the rounds in a row.
#[derive(Default)]
pub(super) struct QueuesInTrouble(HashMap<String, u32>);

impl QueuesInTrouble {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a round; returns the queues whose messages are to be set aside.
    fn count(&mut self, failed: &BTreeMap<String, EngineError>) -> HashSet<String> {
        self.0.retain(|queue, _| failed.contains_key(queue));
        for queue in failed.keys() {
            *self.0.entry(queue.clone()).or_default() += 1;
        }
        let lasting = self.0.iter().filter(|(_, rounds)| **rounds > ROUNDS_MAX);
        lasting.map(|(queue, _)| queue.clone()).collect()
    }
}

impl Relay {
    /// Publishes the jobs of the batch again, those of each queue alone, and leaves in it the messages whose jobs are
    /// all confirmed. Returns the error of one of the queues that took nothing, if any.
    ///
    /// # Errors
    /// When all queues fail, this is the error.
    pub(super) async fn publish_by_queue(
        &self,
        batch: &mut Batch<'_>,
        in_trouble: &mut QueuesInTrouble,
        error: EngineError,
    ) -> Result<Option<EngineError>, JobError> {
        let began = self.ambient.now();
        let mut by_queue: BTreeMap<String, Vec<Envelope>> = BTreeMap::new();
        let mut queues_of = Vec::with_capacity(batch.good.len());
        for message in &batch.good {
            // What cannot be expanded has been taken out.
            let jobs = self.jobs_of(message, &mut batch.subscribers).await?.unwrap_or_default();
            queues_of.push(jobs.iter().map(|job| job.queue.clone()).collect::<HashSet<_>>());
            jobs.into_iter().for_each(|job| by_queue.entry(job.queue.clone()).or_default().push(job));
        }
        let tried = by_queue.len();
        let mut failed = BTreeMap::new();
        batch.jobs = 0;
        for (queue, jobs) in by_queue {
            if between(began, self.ambient.now()) > TRY_FOR {
                failed.insert(queue, EngineError::Closed);
            } else if let Err(error) = self.publish_chunks(jobs, &mut batch.jobs).await {
                failed.insert(queue, error);
            }
        }
        if failed.len() == tried {
            return Err(error.into());
        }
        let lasting = in_trouble.count(&failed);
        hold(batch, &queues_of, &failed, &lasting);
        Ok(failed.into_values().next())
    }

    async fn publish_chunks(&self, jobs: Vec<Envelope>, confirmed: &mut usize) -> Result<(), EngineError> {
        let mut jobs = jobs.into_iter().peekable();
        while jobs.peek().is_some() {
            self.publish(&mut jobs.by_ref().take(PUBLISH_MAX).collect(), confirmed).await?;
        }
        Ok(())
    }
}

/// Takes messages with jobs of failed queues out of the batch, and the later ones of their subjects. They are claimed
/// again in the next round, or set aside.
fn hold(
    batch: &mut Batch<'_>,
    queues_of: &[HashSet<String>],
    failed: &BTreeMap<String, EngineError>,
    lasting: &HashSet<String>,
) {
    let mut held: HashSet<&str> = HashSet::new();
    for (message, queues) in std::mem::take(&mut batch.good).into_iter().zip(queues_of) {
        if held.contains(message.subject.as_str()) {
            continue;
        }
        let in_trouble = queues.iter().filter_map(|queue| failed.get_key_value(queue));
        let Some((queue, error)) = in_trouble.max_by_key(|(queue, _)| lasting.contains(*queue)) else {
            batch.good.push(message);
            continue;
        };
        held.insert(&message.subject);
        if lasting.contains(queue) {
            batch.aside.add(message, &format!("queue `{queue}` takes no jobs: {}", describe(error)));
        }
    }
}
