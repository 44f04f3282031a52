//! Sending around queues that take nothing: which messages of a batch go on.
//!
//! A batch that has failed is published queue by queue: one queue that takes nothing, for instance because the broker
//! has lost its quorum or a policy limits its length, holds up no job of another queue. Guarantees: a message is sent
//! once all its jobs are confirmed; later messages of its subject wait for it. Messages of a queue that has taken
//! nothing for [`ROUNDS_MAX`] rounds in a row, while others did, are set aside, so that they do not fill every batch.
//! Does not help while a whole batch is for that queue, which cannot be told from an engine that takes nothing at all.

use std::collections::{BTreeMap, HashMap, HashSet};

use jobs::{Envelope, engine::EngineError, error::describe};

use super::batch::Batch;

/// Rounds in a row in which a queue may take nothing; in the next one its messages are set aside.
const ROUNDS_MAX: u32 = 3;

/// The jobs of a batch by queue, and the queues of each of its messages.
#[derive(Default)]
pub(super) struct ByQueue {
    pub(super) jobs: BTreeMap<String, Vec<Envelope>>,
    queues_of: Vec<HashSet<String>>,
}

impl ByQueue {
    /// Adds the jobs of the next message.
    pub(super) fn add(&mut self, jobs: Vec<Envelope>) {
        self.queues_of.push(jobs.iter().map(|job| job.queue.clone()).collect());
        for job in jobs {
            self.jobs.entry(job.queue.clone()).or_default().push(job);
        }
    }
}

/// The queues that took nothing, with the rounds in a row.
#[derive(Default)]
pub(super) struct QueuesInTrouble(HashMap<String, u32>);

impl QueuesInTrouble {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes messages with jobs of failed queues out of the batch, and the later ones of their subjects. They are
    /// claimed again in the next round, or set aside.
    pub(super) fn hold(
        &mut self,
        batch: &mut Batch<'_>,
        by_queue: &ByQueue,
        failed: &BTreeMap<String, EngineError>,
    ) {
        let lasting = self.count(failed);
        let mut held: HashSet<&str> = HashSet::new();
        for (message, queues) in std::mem::take(&mut batch.good).into_iter().zip(&by_queue.queues_of) {
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
