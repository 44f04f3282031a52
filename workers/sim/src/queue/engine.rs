//! Publishing contract of the simulated queue, as the relay sees it.

use async_trait::async_trait;
use jobs::{
    Envelope, Publish,
    engine::{Capabilities, EngineError, EngineInfo, Event, Published},
};

use super::SimQueue;

impl EngineInfo for SimQueue {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::FULL;
        capabilities.exact_priority = false;
        capabilities.dedupes_ids = false;
        capabilities.fair_share = false;
        capabilities.fifo = false;
        capabilities.order_keys = false;
        capabilities.isolates_suspects = false;
        capabilities.publishes_events = true;
        capabilities
    }
}

#[async_trait]
impl Publish for SimQueue {
    async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        envelopes.iter().try_for_each(Envelope::refuse_order_key)?;
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

    async fn publish_events(&self, events: Vec<Event>) -> Result<(), EngineError> {
        let (kept, confirmed) = self.exchange(events.len()).await?;
        self.0.state.lock().announced.extend(events.into_iter().take(kept));
        self.confirm(confirmed).await
    }
}
