//! Puts jobs into an engine.
//!
//! Guarantees: what is answered with `Ok` is durable, as [`Engine::publish`] promises. Does not retry: after an
//! error the caller knows best whether to publish again, under the same id, which is always safe.

use std::sync::Arc;

use base::Ambient;

use crate::{
    engine::{Engine, EngineError, Published},
    envelope::{EnqueueOptions, Envelope, JobId},
    job::Job,
};

/// A handle for publishing; cheap to clone.
#[derive(Clone)]
pub struct Producer {
    engine: Arc<dyn Engine>,
    ambient: Ambient,
}

/// What became of an enqueued job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    /// The id it was published under.
    pub id: JobId,
    /// Whether the engine took it.
    pub published: Published,
}

impl Producer {
    /// Publishes to this engine, with ids and times from `ambient`.
    pub fn new(engine: Arc<dyn Engine>, ambient: Ambient) -> Self {
        Self { engine, ambient }
    }

    /// Publishes one job by its constants.
    pub async fn enqueue<J: Job>(&self, job: &J) -> Result<Enqueued, EngineError> {
        self.enqueue_with(job, EnqueueOptions::default()).await
    }

    /// Publishes one job; the options win over its constants.
    pub async fn enqueue_with<J: Job>(
        &self,
        job: &J,
        options: EnqueueOptions,
    ) -> Result<Enqueued, EngineError> {
        let envelope = Envelope::new(job, options, &self.ambient)?;
        let id = envelope.id;
        let answers = self.engine.publish(vec![envelope]).await?;
        let published = answers.first().copied().ok_or_else(|| EngineError::Defect {
            engine: self.engine.name(),
            detail: "no answer to a publish".to_owned(),
            source: None,
        })?;
        Ok(Enqueued { id, published })
    }

    /// Publishes many at once, which engines do in groups; one answer per envelope, in order.
    pub async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        self.engine.publish(envelopes).await
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("engine", &self.engine.name()).finish_non_exhaustive()
    }
}
