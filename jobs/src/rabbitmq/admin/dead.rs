//! Dead jobs, read from the job store and published again from there.
//!
//! Guarantees: a dead job is claimed, published afresh and deleted under its claim. A crash in between runs it and
//! keeps it dead, never loses it. One whose unique key another job holds stays dead. How jobs come into the store is
//! told in [`super::mailbox`].

use base::TraceContext;

use super::{housekeeping::CLAIM_FOR, mailbox::raw_of};
use crate::{
    engine::{DeadFilter, EngineError, KeyHolder, LIST_MAX},
    envelope::{Envelope, JobId},
    job_store::DeadJob,
    rabbitmq::{
        client::RabbitClient,
        publish::{batch::Outgoing, route::scheduled},
        wire::{headers::Meta, message, topology::work_queue},
    },
};

/// Jobs published in one batch: each may be as large as an undecodable message.
const CHUNK_MAX: u32 = 32;

/// Result of publishing dead jobs again.
#[derive(Default)]
pub(super) struct Redriven {
    pub(super) ids: Vec<JobId>,
    /// Jobs that stay dead, with the other job that holds their key.
    pub(super) not_unique: Vec<(JobId, KeyHolder)>,
}

impl RabbitClient {
    /// Publishes matching dead jobs afresh, by id; returns their ids.
    pub(super) async fn redrive_matching(&self, filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        let (mut page, mut ids) = (filter.clone(), Vec::new());
        loop {
            let left = filter.limit.saturating_sub(u32::try_from(ids.len()).unwrap_or(u32::MAX));
            page.limit = left.min(if filter.dry_run { LIST_MAX } else { CHUNK_MAX });
            if page.limit == 0 {
                return Ok(ids);
            }
            let found = self.store.dead_ids(&page).await?;
            let Some(&last) = found.last() else { return Ok(ids) };
            page.after = Some(last);
            ids.extend(if filter.dry_run { found } else { self.publish_again(&found).await?.ids });
        }
    }

    /// Publishes those of these dead jobs afresh that can be.
    pub(super) async fn publish_again(&self, ids: &[JobId]) -> Result<Redriven, EngineError> {
        let now = self.ambient.now();
        let jobs = self.store.claim_dead(ids, now, now + CLAIM_FOR).await?;
        if jobs.is_empty() {
            return Ok(Redriven::default());
        }
        let ids: Vec<JobId> = jobs.iter().map(|job| job.envelope.id).collect();
        self.forget_cancels(&ids).await?;
        let holders = self.reserve(jobs.iter().map(|job| &job.envelope)).await?;
        let (mut outgoing, mut claims, mut stay) = (Vec::new(), Vec::new(), Vec::new());
        let (mut not_unique, mut fair, mut ordered) = (Vec::new(), Vec::new(), Vec::new());
        for (job, holder) in jobs.into_iter().zip(holders) {
            not_unique.extend(holder.map(|holder| (job.envelope.id, holder)));
            if let Some(message) = fresh_copy(&job).filter(|_| holder.is_none()) {
                claims.push((job.envelope.id, job.claim));
                let is_ordered = job.envelope.order_key.is_some();
                let waits = is_ordered || self.fair.is_fair(&job.envelope.queue);
                if job.message.is_none() && waits {
                    let target = if is_ordered { &mut ordered } else { &mut fair };
                    target.push(scheduled(&afresh(job.envelope), Meta::default(), now));
                } else {
                    outgoing.push(message);
                }
            } else {
                stay.push(job);
            }
        }
        self.publisher.publish(outgoing).await?;
        self.publish_fairly(fair).await?;
        self.line_up(ordered).await?;
        self.store.remove_dead(&claims).await?;
        if !stay.is_empty() {
            // Ends their claims.
            self.store.add_dead(stay).await?;
        }
        Ok(Redriven { ids: claims.into_iter().map(|(id, _)| id).collect(), not_unique })
    }

    /// Deletes cancel requests of jobs that start afresh.
    async fn forget_cancels(&self, ids: &[JobId]) -> Result<(), EngineError> {
        let requested = {
            let control = self.control.borrow();
            ids.iter().any(|id| control.cancels.contains_key(id))
        };
        if requested {
            self.store.forget_cancels(ids).await?;
            self.refresh_control().await?;
        }
        Ok(())
    }
}

/// The job with fresh attempts. Its next run begins a trace that links to the one before, which ended when the job
/// died.
fn afresh(dead: Envelope) -> Envelope {
    Envelope { attempt: 0, run_at: None, trace: dead.trace.map(TraceContext::linked), ..dead }
}

/// `None` for a job whose row in the store is corrupt.
fn fresh_copy(dead: &DeadJob) -> Option<Outgoing> {
    let envelope = &dead.envelope;
    let routing_key = work_queue(&envelope.queue, envelope.priority);
    let raw = match &dead.message {
        Some(message) => message::restore_unreadable(&raw_of(message)),
        None if envelope.kind.is_empty() => return None,
        None => message::encode(&afresh(envelope.clone()), &Meta::default()),
    };
    Some(Outgoing::to_queue(routing_key, raw))
}
