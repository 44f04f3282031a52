//! Payload gate: whether a release reads the jobs that wait, asked before any of its workers starts.
//!
//! Reads what the engine lists: ready, delayed and dead jobs, and running ones, those of other processes perhaps by
//! kind and version alone. What a broker cannot list is counted as unread, or sampled if wanted. Guarantees: a check
//! changes nothing, but for a sample ([`Admin::sample_ready`]), and its result holds nothing of a payload. A dead job
//! that was unreadable when it died is counted apart, as no release can be refused for what the one before could not
//! read. It is no snapshot: a job that comes or moves meanwhile may be missing.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    engine::{Admin, DeadReason, EngineError, InspectedJob, JobFilter, JobState, LIST_MAX},
    envelope::{Envelope, JobId},
    payload::Unreadable,
};

/// Most groups in [`Checked::unreadable`]; jobs of further ones are counted in [`Checked::ungrouped`].
pub const GROUPS_MAX: usize = 100;

/// Result of a check, in numbers of jobs.
#[derive(Debug, Default, Serialize)]
pub struct Checked {
    /// Jobs read.
    pub read: u64,
    /// Those of them that the release cannot run, by kind, version and reason.
    pub unreadable: Vec<UnreadableJobs>,
    /// Jobs like these that belong to none of the groups.
    pub ungrouped: u64,
    /// Dead jobs that the release cannot run, and that were unreadable when they died.
    pub dead_before: u64,
    /// Queues with ready jobs that were not read.
    pub unread: Vec<UnreadQueue>,
    /// Jobs of all queues in short delays, not read, see [`Admin::short_delays`].
    pub short_delays: u64,
}

impl Checked {
    /// Whether the release reads every job that was read.
    pub fn is_passed(&self) -> bool {
        self.unreadable.is_empty()
    }
}

/// Jobs that a release cannot run for one reason.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Serialize)]
pub struct UnreadableJobs {
    /// As it stands in the messages, so of any content; `""` for messages that are no jobs.
    pub kind: String,
    pub version: u16,
    /// [`Unreadable`] in words.
    pub error: String,
    pub count: u64,
    /// One of these jobs, with its queue and state.
    pub example: JobId,
    pub queue: String,
    pub state: JobState,
}

/// Ready jobs of a queue that were not read.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadQueue {
    pub queue: String,
    pub ready: u64,
}

/// Checks the jobs of all queues by `reads`, which is [`Registry::check`](crate::Registry::check) of the release. Of
/// ready jobs that the engine cannot list, up to `sample` of each queue and priority.
pub async fn check(
    engine: &dyn Admin,
    reads: impl Fn(&Envelope) -> Result<(), Unreadable>,
    sample: u32,
) -> Result<Checked, EngineError> {
    let mut tally = Tally::default();
    // Ready jobs that were listed, by queue: those that wait for their turn in a fair queue, with any engine.
    let mut listed: BTreeMap<String, u64> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = engine.list(&JobFilter { after, limit: LIST_MAX, ..JobFilter::default() }).await?;
        for job in &page {
            tally.add(job, reads(&job.envelope));
            if job.state == JobState::Ready {
                *listed.entry(job.envelope.queue.clone()).or_default() += 1;
            }
        }
        // The greatest, as that of a corrupt row may not be behind those before it.
        let last = page.iter().map(|job| job.envelope.id).max().filter(|last| Some(*last) > after);
        if last.is_none() {
            break;
        }
        after = last;
    }
    if !engine.capabilities().lists_ready {
        for queue in engine.queues().await? {
            let listed = listed.get(&queue).copied().unwrap_or_default();
            let mut ready = engine.depth(&queue).await?.ready.saturating_sub(listed);
            if ready > 0 && sample > 0 {
                let sampled = engine.sample_ready(&queue, sample).await?;
                for job in &sampled {
                    tally.add(job, reads(&job.envelope));
                }
                ready = ready.saturating_sub(sampled.len() as u64);
            }
            if ready > 0 {
                tally.checked.unread.push(UnreadQueue { queue, ready });
            }
        }
    }
    // Zero where all delayed jobs are listed.
    tally.checked.short_delays = engine.short_delays().await?;
    Ok(tally.result())
}

#[derive(Default)]
struct Tally {
    checked: Checked,
    groups: BTreeMap<(String, u16, Unreadable), UnreadableJobs>,
}

impl Tally {
    fn add(&mut self, job: &InspectedJob, read: Result<(), Unreadable>) {
        self.checked.read += 1;
        let Err(why) = read else { return };
        let InspectedJob { envelope, state, dead, .. } = job;
        let is_noted = *state == JobState::Running && envelope.payload.get() == "null";
        if is_noted && matches!(why, Unreadable::Payload(_)) {
            return;
        }
        let was_unreadable = |reason| matches!(reason, DeadReason::Undecodable | DeadReason::UnknownKind);
        if dead.as_ref().is_some_and(|dead| was_unreadable(dead.reason)) {
            self.checked.dead_before += 1;
            return;
        }
        let key = (envelope.kind.clone(), envelope.version, why);
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&key) {
            self.checked.ungrouped += 1;
            return;
        }
        let error = key.2.to_string();
        let group = self.groups.entry(key).or_insert_with(|| UnreadableJobs {
            kind: envelope.kind.clone(),
            version: envelope.version,
            error,
            count: 0,
            example: envelope.id,
            queue: envelope.queue.clone(),
            state: *state,
        });
        group.count += 1;
    }

    fn result(self) -> Checked {
        Checked { unreadable: self.groups.into_values().collect(), ..self.checked }
    }
}
