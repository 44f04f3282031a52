//! The publishing side of an engine for application code.
//!
//! Guarantees: a job for which `Ok` was returned is durable, as [`Publish::publish`] promises. Does not retry: after an
//! error the caller decides whether to publish again; under the same id that is always safe.

use std::sync::Arc;

use base::{Ambient, ErrorClass};

use crate::{
    engine::{EngineError, Publish, Published},
    envelope::{EnqueueOptions, Envelope, JobId},
    job::Job,
    spans::PublishSpans,
};

/// Handle for publishing; cheap to clone.
#[derive(Clone)]
pub struct Producer {
    engine: Arc<dyn Publish>,
    ambient: Ambient,
}

/// Result of enqueueing one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    /// Id of the job.
    pub id: JobId,
    /// Whether the engine stored the job.
    pub published: Published,
}

impl Producer {
    /// A producer for this engine that takes ids and times from `ambient`.
    pub fn new(engine: Arc<dyn Publish>, ambient: Ambient) -> Self {
        Self { engine, ambient }
    }

    /// Publishes one job with the options its constants give.
    pub async fn enqueue<J: Job>(&self, job: &J) -> Result<Enqueued, EngineError> {
        self.enqueue_with(job, EnqueueOptions::default()).await
    }

    /// Publishes one job; `options` take precedence over its constants.
    pub async fn enqueue_with<J: Job>(
        &self,
        job: &J,
        options: EnqueueOptions,
    ) -> Result<Enqueued, EngineError> {
        let envelope = Envelope::new(job, options, &self.ambient)?;
        let id = envelope.id;
        let results = self.publish(vec![envelope]).await?;
        let published = results.first().copied().ok_or_else(|| {
            EngineError::new(ErrorClass::Defect, self.engine.name(), "no result of a publish")
        })?;
        Ok(Enqueued { id, published })
    }

    /// Publishes many jobs in one call, which engines store in groups; returns one result per envelope, in order.
    pub async fn publish(&self, mut envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        let spans = PublishSpans::begin(&mut envelopes, self.engine.name());
        spans.end(self.engine.publish(envelopes).await)
    }
}
