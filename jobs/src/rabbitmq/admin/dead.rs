//! The dead queue, scanned by consuming without acknowledging and then returning the messages.
//!
//! Dead jobs therefore need no index elsewhere, and jobs dead-lettered by the broker itself (those that kept crashing)
//! are listed like the others. One scan sees at most [`SCAN_MAX`] of the oldest messages. Meanwhile they are invisible
//! to other scans: scans of one handle run one after the other; one of another process at the same moment may miss
//! some.

use std::{collections::HashSet, time::Duration};

use base::Timestamp;
use futures::StreamExt;
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::{sync::MutexGuard, time::timeout};

use crate::{
    engine::{CRASHES_MAX, DeadFilter, DeadInfo, DeadReason, EngineError, InspectedJob, JobState},
    envelope::{Envelope, JobId},
    rabbitmq::{
        client::RabbitClient,
        publish::batch::Outgoing,
        wire::{
            fault::answer,
            headers::{self, Meta},
            message::{self, Raw},
            topology::{self, dead_queue, work_queue},
        },
    },
};

/// Most messages of one scan.
const SCAN_MAX: u16 = 10_000;
/// Longest wait for the next message, and checks (one every so often) until the queue has the messages back.
const NEXT_TIMEOUT: Duration = Duration::from_millis(500);
const BACK_TRIES: u32 = 100;

struct DeadJob {
    tag: u64,
    raw: Raw,
    job: InspectedJob,
}

impl DeadJob {
    fn died_at(&self) -> Timestamp {
        self.job.dead.as_ref().map_or(Timestamp::UNIX_EPOCH, |dead| dead.died_at)
    }
}

/// A scan in progress: the dead jobs, oldest first, invisible to others until [`DeadScan::end`].
struct DeadScan<'a> {
    channel: Option<Channel>,
    queue: String,
    jobs: Vec<DeadJob>,
    total: u64,
    _lock: MutexGuard<'a, ()>,
}

impl RabbitClient {
    /// Scans the dead queue of one job queue. The caller must call [`DeadScan::end`].
    async fn scan_dead(&self, queue: &str) -> Result<DeadScan<'_>, EngineError> {
        let lock = self.dead_scan.lock().await;
        let name = dead_queue(queue);
        let channel = self.admin.channel().await?;
        let total = topology::count(&channel, &name).await?.unwrap_or(0);
        let mut scan = DeadScan { channel: None, queue: name, jobs: Vec::new(), total, _lock: lock };
        if total == 0 {
            return Ok(scan);
        }
        answer(channel.basic_qos(SCAN_MAX, BasicQosOptions::default())).await?;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consuming = channel.basic_consume(scan.queue.as_str().into(), "scan".into(), options, none);
        let mut consumer = answer(consuming).await?;
        while scan.jobs.len() < usize::from(SCAN_MAX).min(usize::try_from(total).unwrap_or(usize::MAX)) {
            let Ok(Some(Ok(delivery))) = timeout(NEXT_TIMEOUT, consumer.next()).await else { break };
            let raw = Raw { properties: delivery.properties, body: delivery.data };
            let job = self.dead_job(queue, &raw);
            scan.jobs.push(DeadJob { tag: delivery.delivery_tag, raw, job });
        }
        answer(channel.basic_cancel("scan".into(), BasicCancelOptions::default())).await?;
        scan.jobs.sort_by_key(|dead| (dead.died_at(), dead.job.envelope.id));
        scan.channel = Some(channel);
        Ok(scan)
    }

    pub(super) async fn dead_jobs(&self, queue: &str) -> Result<Vec<InspectedJob>, EngineError> {
        let mut scan = self.scan_dead(queue).await?;
        let jobs = scan.jobs.drain(..).map(|dead| dead.job).collect();
        scan.end(&HashSet::new()).await?;
        Ok(jobs)
    }

    fn dead_job(&self, queue: &str, raw: &Raw) -> InspectedJob {
        let headers = raw.properties.headers().clone().unwrap_or_default();
        let meta = Meta::of(&headers).unwrap_or_default();
        let by_broker = dead_lettered_at(&headers);
        let (reason, died_at) = meta
            .dead
            .or(by_broker.map(|at| (DeadReason::Crashed, at)))
            .unwrap_or((DeadReason::Undecodable, self.ambient.now()));
        let decoded = message::decode(queue, raw).ok().filter(|_| reason != DeadReason::Undecodable);
        // Each scan counts as a return to the dead queue: the count in this copy's header is not one of crashes.
        let scans = u32::try_from(headers::number(&headers, "x-delivery-count").ok().flatten().unwrap_or(0));
        let crashes = meta.crashes.saturating_sub(scans.unwrap_or(0));
        let crashes = by_broker.map_or(crashes, |_| crashes + CRASHES_MAX + 1);
        let by_crash = format!("lost its consumer more than {CRASHES_MAX} times");
        let crashed = (reason == DeadReason::Crashed && by_broker.is_some()).then_some(by_crash);
        InspectedJob {
            envelope: decoded.map_or_else(|| unreadable(queue, raw), |(envelope, _)| envelope),
            state: JobState::Dead,
            crashes,
            last_error: crashed.or(meta.last_error),
            dead: Some(DeadInfo {
                reason,
                first_failed_at: meta.first_failed_at.unwrap_or(died_at),
                died_at,
            }),
        }
    }

    /// Moves matching dead jobs of one queue back, oldest first; returns their ids.
    pub(super) async fn redrive_queue(
        &self,
        queue: &str,
        filter: &DeadFilter,
        only: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, JobId)>, EngineError> {
        let scan = self.scan_dead(queue).await?;
        let wanted =
            |dead: &&DeadJob| only.is_none_or(|id| dead.job.envelope.id == id) && matches(&dead.job, filter);
        let chosen: Vec<&DeadJob> = scan.jobs.iter().filter(wanted).take(limit).collect();
        let redriven = if filter.dry_run { Ok(chosen) } else { self.publish_fresh(chosen).await };
        let published = redriven.iter().flatten().filter(|_| !filter.dry_run);
        let tags = published.map(|dead| dead.tag).collect();
        let told = |dead: &DeadJob| (dead.died_at(), dead.job.envelope.id);
        let redriven = redriven.map(|jobs| jobs.into_iter().map(told).collect());
        scan.end(&tags).await?;
        redriven
    }

    /// Publishes fresh copies and returns their jobs; one whose unique key another job holds by now stays dead.
    async fn publish_fresh<'d>(&self, chosen: Vec<&'d DeadJob>) -> Result<Vec<&'d DeadJob>, EngineError> {
        let ids: Vec<JobId> = chosen.iter().map(|dead| dead.job.envelope.id).collect();
        self.forget_cancels(&ids).await?;
        let free = self.reserve(chosen.iter().map(|dead| &dead.job.envelope)).await?;
        let free: Vec<&DeadJob> =
            chosen.into_iter().zip(free).filter(|(_, other)| other.is_none()).map(|(dead, _)| dead).collect();
        self.publisher.publish(free.iter().map(|dead| fresh_copy(dead)).collect()).await?;
        Ok(free)
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

fn fresh_copy(dead: &DeadJob) -> Outgoing {
    let envelope = &dead.job.envelope;
    let routing_key = work_queue(&envelope.queue, envelope.priority);
    let raw = if envelope.kind.is_empty() {
        message::restore_unreadable(&dead.raw)
    } else {
        message::encode(&Envelope { attempt: 0, run_at: None, ..envelope.clone() }, &Meta::default())
    };
    Outgoing::to_queue(routing_key, raw)
}

impl DeadScan<'_> {
    /// Acknowledges the messages with these tags, returns the others and waits until the queue has them.
    async fn end(self, gone: &HashSet<u64>) -> Result<(), EngineError> {
        let Some(channel) = self.channel else { return Ok(()) };
        for tag in gone {
            answer(channel.basic_ack(*tag, BasicAckOptions::default())).await?;
        }
        // Tag zero means all unacknowledged messages of this channel.
        let back = BasicNackOptions { multiple: true, requeue: true };
        answer(channel.basic_nack(0, back)).await?;
        // The queue handles returns after its next commands: without this wait, the next scan might find it empty.
        let left = self.total.saturating_sub(gone.len() as u64);
        for _ in 0..BACK_TRIES {
            if topology::count(&channel, &self.queue).await?.is_none_or(|count| count >= left) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        answer(channel.close(200, "scanned".into())).await
    }
}

fn matches(job: &InspectedJob, filter: &DeadFilter) -> bool {
    let Some(dead) = &job.dead else { return false };
    let error = job.last_error.as_deref().unwrap_or_default();
    filter.kind.as_ref().is_none_or(|kind| *kind == job.envelope.kind)
        && filter.reason.is_none_or(|reason| reason == dead.reason)
        && filter.error_contains.as_ref().is_none_or(|text| error.contains(text.as_str()))
        && filter.since.is_none_or(|since| dead.died_at >= since)
}

/// Time at which the broker dead-lettered the message because of its delivery limit.
fn dead_lettered_at(headers: &FieldTable) -> Option<Timestamp> {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else { return None };
    deaths.as_slice().iter().find_map(|death| {
        let AMQPValue::FieldTable(death) = death else { return None };
        let reason = death.inner().get("reason")?;
        let limit = matches!(reason, AMQPValue::LongString(reason) if reason.as_bytes() == b"delivery_limit");
        let Some(AMQPValue::Timestamp(seconds)) = death.inner().get("time").filter(|_| limit) else {
            return None;
        };
        i64::try_from(*seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok())
    })
}

/// A substitute envelope that shows the raw bytes.
fn unreadable(queue: &str, raw: &Raw) -> Envelope {
    let text = String::from_utf8_lossy(&raw.body);
    // Derived from the bytes, so that it is the same at each scan.
    let id = message::id_of(raw).unwrap_or_else(|| JobId::derived(uuid::Uuid::nil(), &text));
    let priority = message::class_of(&raw.properties);
    Envelope { priority, ..Envelope::undecodable(id, queue.to_owned(), &text) }
}
