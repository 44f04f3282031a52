//! Publishing of jobs: plain ones go straight to the broker, unique ones after their key is reserved, long delays to
//! the job store.

mod events;
mod pipeline;
pub(super) mod publisher;
pub(super) mod route;

use std::collections::HashSet;

use self::route::{Route, route};
use crate::{
    engine::{EngineError, Published},
    envelope::{Envelope, JobId},
    rabbitmq::{
        RabbitClient,
        wire::message::{self, Meta},
    },
};

impl RabbitClient {
    pub(super) async fn publish(&self, envelopes: Vec<Envelope>) -> Result<Vec<Published>, EngineError> {
        envelopes.iter().try_for_each(message::check)?;
        let queues: HashSet<&str> = envelopes.iter().map(|envelope| envelope.queue.as_str()).collect();
        self.require_queues(queues).await?;
        let holders = self.reserve(envelopes.iter()).await?;
        let mut answers = Vec::with_capacity(envelopes.len());
        let (mut outgoing, mut scheduled) = (Vec::with_capacity(envelopes.len()), Vec::new());
        for (envelope, holder) in envelopes.iter().zip(holders) {
            if let Some(other) = holder {
                answers.push(Published::NotUnique(other));
                continue;
            }
            answers.push(Published::Accepted);
            match route(envelope, Meta::default(), envelope.run_at, &self.ambient) {
                Route::Publish(message) => outgoing.push(message),
                Route::Schedule(job) => scheduled.push(job),
            }
        }
        if !scheduled.is_empty() {
            self.store.schedule(scheduled).await?;
        }
        self.publisher.publish(outgoing).await?;
        Ok(answers)
    }

    /// Returns for each job the other one that holds its unique key. Keys are reserved before publishing and kept when
    /// publishing fails: the outcome is unknown then, and a second publish under the same id finds its own reservation.
    pub(super) async fn reserve<'e>(
        &self,
        envelopes: impl Iterator<Item = &'e Envelope> + Clone,
    ) -> Result<Vec<Option<JobId>>, EngineError> {
        let keys: Vec<_> =
            envelopes.clone().filter_map(|e| Some((e.unique_key.clone()?, e.queue.clone(), e.id))).collect();
        let mut holders =
            if keys.is_empty() { Vec::new() } else { self.store.reserve(keys, self.ambient.now()).await? }
                .into_iter();
        Ok(envelopes.map(|e| e.unique_key.as_ref().and_then(|_| holders.next().flatten())).collect())
    }

    /// Deletes cancel requests of jobs that start afresh.
    pub(super) async fn forget_cancels(&self, ids: &[JobId]) -> Result<(), EngineError> {
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
