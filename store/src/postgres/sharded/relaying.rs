//! The outbox over shards: claims rotate over the shards, a message is marked on its own shard, and an arrival on any
//! shard wakes the relays.
//!
//! Guarantees: each claim begins at another shard, so that a full one cannot starve the others. A failed shard is
//! skipped for [`REST`], after which it has [`PROBE`] to answer, so that it costs the others at most a tenth of their
//! time, and only one relay at a time; its failure is logged once. A claim fails only when no shard answers.

use std::{
    sync::{Mutex, OnceLock, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use base::Timestamp;
use futures::future::join_all;
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout},
};

use super::{ShardedOrders, locating::Thing, routes::call};
use crate::{
    domain::{Event, EventId, MerchantId, OrderId, Page, PageRequest},
    error::StoreError,
    outbox::{Backlog, Command, Outbox, OutboxMessage, Position, Submitted},
    postgres::{PostgresOrders, fault::PostgresFault, notify::bump},
};

/// Pause of a failed shard, during which no messages are claimed from it.
const REST: Duration = Duration::from_secs(5);
/// Longest wait for the first answer after the pause.
const PROBE: Duration = Duration::from_millis(500);

/// The pause of a failed shard.
#[derive(Default)]
pub(super) struct ShardPause(Mutex<Option<Instant>>);

impl ShardPause {
    fn until(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_resting(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }

    /// Records the result of a claim; true when it differs from the previous one.
    fn note(&self, failed: bool) -> bool {
        let until = failed.then(|| Instant::now() + REST);
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), until);
        before.is_some() != failed
    }
}

/// The arrivals of all shards, merged.
#[derive(Default)]
pub(super) struct Merged {
    arrivals: watch::Sender<u64>,
    tasks: OnceLock<Vec<AbortHandle>>,
}

impl Drop for Merged {
    fn drop(&mut self) {
        for task in self.tasks.get().into_iter().flatten() {
            task.abort();
        }
    }
}

#[async_trait]
impl Outbox for ShardedOrders {
    async fn submit(&self, id: EventId, command: Command, at: Timestamp) -> Result<Submitted, StoreError> {
        let Some(order) = command.order() else { return Ok(Submitted::NoSuchOrder) };
        self.write_of(Thing::order(order), call!(submit(id, command, at))).await
    }

    async fn claim(
        &self,
        relay: &str,
        limit: u32,
        lease: Duration,
        at: Timestamp,
    ) -> Result<Vec<OutboxMessage>, StoreError> {
        let shards = self.shared.shards.len();
        let first = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        let nobody_else = self.shared.shards.iter().all(|shard| shard.rest.is_resting());
        let (mut messages, mut failed, mut answered) = (Vec::new(), None, false);
        for shard in (0..shards).map(|step| first.wrapping_add(step) % shards) {
            let left = limit.saturating_sub(u32::try_from(messages.len()).unwrap_or(u32::MAX));
            if left == 0 {
                break;
            }
            if self.shared.shards[shard].rest.is_resting() && !nobody_else {
                continue;
            }
            match self.claim_from(shard, relay, left, lease, at).await {
                Ok(taken) => {
                    answered = true;
                    messages.extend(taken);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) if !answered => Err(error),
            _ => Ok(messages),
        }
    }

    async fn mark_sent(&self, positions: &[Position], at: Timestamp) -> Result<(), StoreError> {
        let of = |shard: usize| {
            let here = positions.iter().filter(|position| usize::from(position.shard) == shard);
            here.copied().collect::<Vec<_>>()
        };
        let marking = self.shared.shards.iter().enumerate().map(|(number, shard)| {
            let positions = of(number);
            async move { shard.store.mark_sent(&positions, at).await }
        });
        join_all(marking).await.into_iter().collect()
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        let merged = &self.shared.merged;
        merged.tasks.get_or_init(|| {
            self.stores().map(|store| forward(store.arrivals(), merged.arrivals.clone())).collect()
        });
        merged.arrivals.subscribe()
    }

    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let counted = join_all(self.stores().map(Outbox::backlog)).await;
        let mut sum = Backlog { messages: 0, oldest_at: None };
        for backlog in counted {
            let backlog = backlog?;
            sum.messages += backlog.messages;
            sum.oldest_at = [sum.oldest_at, backlog.oldest_at].into_iter().flatten().min();
        }
        Ok(sum)
    }

    async fn events(
        &self,
        merchant: MerchantId,
        page: PageRequest<EventId>,
    ) -> Result<Page<Event>, StoreError> {
        self.read(merchant, call!(events(merchant, page))).await
    }

    async fn event_by_id(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        self.read_of(Thing::event(id), call!(event_by_id(id))).await
    }

    async fn order_events(&self, order: OrderId, after: u64) -> Result<Vec<Event>, StoreError> {
        self.read_of(Thing::order(order), call!(order_events(order, after))).await
    }
}

impl ShardedOrders {
    async fn claim_from(
        &self,
        number: usize,
        relay: &str,
        limit: u32,
        lease: Duration,
        at: Timestamp,
    ) -> Result<Vec<OutboxMessage>, StoreError> {
        let shard = &self.shared.shards[number];
        let claiming = shard.store.claim(relay, limit, lease, at);
        let claimed = if shard.rest.until().is_some() {
            // Messages that were leased all the same are claimed again by this relay, once the shard answers.
            timeout(PROBE, claiming)
                .await
                .unwrap_or_else(|_| Err(PostgresFault::Sql(sqlx::Error::PoolTimedOut).into()))
        } else {
            claiming.await
        };
        if shard.rest.note(claimed.is_err()) {
            let name = &self.shared.map.names()[number];
            match &claimed {
                Ok(_) => tracing::info!(shard = %name, "outbox of shard available again"),
                Err(error) => {
                    tracing::warn!(shard = %name, %error, "outbox of shard unavailable");
                }
            }
        }
        let place = |message: OutboxMessage| {
            let shard = u16::try_from(number).unwrap_or(u16::MAX);
            OutboxMessage { position: Position { shard, ..message.position }, ..message }
        };
        Ok(claimed?.into_iter().map(place).collect())
    }
}

/// Forwards arrivals until the shard's store is dropped or the task is aborted.
fn forward(mut from: watch::Receiver<u64>, to: watch::Sender<u64>) -> AbortHandle {
    let forwarding = async move {
        while from.changed().await.is_ok() {
            bump(&to);
        }
    };
    tokio::spawn(forwarding).abort_handle()
}
