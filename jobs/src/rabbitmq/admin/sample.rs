//! Samples of ready jobs, which a broker cannot list: taken from the front of their queue, published again at its end.
//!
//! Guarantees: a message is acknowledged after its copy is confirmed, so that a crash in between leaves both. Copies,
//! because the broker counts each return as a lost delivery. All headers are kept and lost deliveries are counted on,
//! but those that make a job a suspect are forgotten.

use lapin::options::{BasicAckOptions, BasicGetOptions};

use crate::{
    engine::{EngineError, InspectedJob, JobState},
    envelope::Envelope,
    job::Priority,
    rabbitmq::{
        client::RabbitClient,
        publish::batch::Outgoing,
        wire::{
            fault::answer,
            message::{self, Raw},
            topology::work_queue,
        },
    },
};

/// Most messages taken between two acknowledgements.
const CHUNK_MAX: u64 = 64;

impl RabbitClient {
    /// Up to `limit` ready jobs of each priority of a queue.
    pub(super) async fn sample(&self, queue: &str, limit: u32) -> Result<Vec<InspectedJob>, EngineError> {
        self.require_queues([queue].into()).await?;
        // Without a publisher, messages would only be fetched and returned.
        self.publisher.wait_until_up().await?;
        let mut jobs = Vec::new();
        for priority in Priority::ALL {
            // No more than wait now: the copies would be next.
            let waiting = self.count(&[work_queue(queue, priority)]).await?;
            let mut left = waiting.min(u64::from(limit));
            while left > 0 {
                let chunk = self.sample_chunk(queue, priority, left.min(CHUNK_MAX)).await?;
                if chunk.is_empty() {
                    break;
                }
                left = left.saturating_sub(chunk.len() as u64);
                jobs.extend(chunk);
            }
        }
        Ok(jobs)
    }

    async fn sample_chunk(
        &self,
        queue: &str,
        priority: Priority,
        most: u64,
    ) -> Result<Vec<InspectedJob>, EngineError> {
        let (channel, name) = (self.admin.channel().await?, work_queue(queue, priority));
        let (mut last, mut copies, mut jobs) = (None, Vec::new(), Vec::new());
        while (jobs.len() as u64) < most {
            let got = channel.basic_get(name.as_str().into(), BasicGetOptions::default());
            let Some(got) = answer(got).await? else { break };
            last = Some(got.delivery.delivery_tag);
            let raw = Raw { properties: got.delivery.properties, body: got.delivery.data };
            copies.push(Outgoing::to_queue(name.clone(), message::copy(&raw)));
            jobs.push(inspected(queue, priority, &raw));
        }
        if let Some(last) = last {
            self.publisher.publish(copies).await?;
            answer(channel.basic_ack(last, BasicAckOptions { multiple: true })).await?;
        }
        answer(channel.close(200, "sampled".into())).await?;
        Ok(jobs)
    }
}

fn inspected(queue: &str, priority: Priority, raw: &Raw) -> InspectedJob {
    let (envelope, crashes, last_error) = match message::decode(queue, raw) {
        Ok((envelope, meta)) => (Envelope { priority, ..envelope }, meta.crashes, meta.last_error),
        Err(error) => {
            let id = message::unreadable_id(raw, priority);
            (Envelope::undecodable(id, queue.to_owned(), ""), 0, Some(error))
        }
    };
    InspectedJob { envelope, state: JobState::Ready, crashes, last_error, behind: None, dead: None }
}
