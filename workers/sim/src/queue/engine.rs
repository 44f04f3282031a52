//! [`Engine`] contract of the simulated queue, as the product sees it.

use async_trait::async_trait;
use jobs::{
    Engine, Envelope, JobId,
    engine::{
        Cancelled, Capabilities, ConsumeOptions, Consumer, ConsumerInfo, DeadFilter, Depth, EngineError,
        Event, InspectedJob, JobFilter, Published, QueueSpec,
    },
};

use super::SimQueue;

#[async_trait]
impl Engine for SimQueue {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::FULL;
        capabilities.strict_priority = false;
        capabilities.dedupes_ids = false;
        capabilities.fifo = false;
        capabilities.announces = true;
        capabilities
    }

    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        let asked = envelopes.len();
        let (kept, confirmed) = self.exchange(asked).await?;
        for envelope in envelopes.into_iter().take(kept) {
            self.0.trace.note("published", || {
                format!("{} {} {}", envelope.id, envelope.kind, envelope.payload.get())
            });
            self.accept(envelope);
        }
        self.confirm(confirmed).await?;
        Ok(vec![Published::Accepted; asked])
    }

    async fn publish_events(&self, news: Vec<Event>) -> Result<(), EngineError> {
        let (kept, confirmed) = self.exchange(news.len()).await?;
        self.lock().announced.extend(news.into_iter().take(kept));
        self.confirm(confirmed).await
    }

    async fn declare(&self, _queues: &[QueueSpec]) -> Result<(), EngineError> {
        Ok(())
    }

    async fn consume(&self, _queue: &str, _options: ConsumeOptions) -> Result<Consumer, EngineError> {
        no_operators()
    }

    async fn depth(&self, _queue: &str) -> Result<Depth, EngineError> {
        no_operators()
    }

    async fn queues(&self) -> Result<Vec<String>, EngineError> {
        no_operators()
    }

    async fn consumers(&self) -> Result<Vec<ConsumerInfo>, EngineError> {
        no_operators()
    }

    async fn pause(&self, _queue: &str) -> Result<(), EngineError> {
        no_operators()
    }

    async fn resume(&self, _queue: &str) -> Result<(), EngineError> {
        no_operators()
    }

    async fn purge(&self, _queue: &str) -> Result<u64, EngineError> {
        no_operators()
    }

    async fn cancel(&self, _id: JobId, _reason: &str) -> Result<Cancelled, EngineError> {
        no_operators()
    }

    async fn retry_now(&self, _id: JobId) -> Result<bool, EngineError> {
        no_operators()
    }

    async fn list(&self, _filter: &JobFilter) -> Result<Vec<InspectedJob>, EngineError> {
        no_operators()
    }

    async fn find(&self, _id: JobId) -> Result<Option<InspectedJob>, EngineError> {
        no_operators()
    }

    async fn redrive(&self, _filter: &DeadFilter) -> Result<Vec<JobId>, EngineError> {
        no_operators()
    }
}

/// Answer to every command of an operator.
fn no_operators<T>() -> Result<T, EngineError> {
    Err(EngineError::Refused("operator commands are not simulated".to_owned()))
}
