//! Health checks for `/readyz` beyond those of the stores. The API accepts orders without these dependencies, so its
//! process is only degraded; a process of another role is down without them.

use std::{future::ready, sync::Arc};

use api::{HealthCheck, HealthStatus};
use base::{Ambient, Timestamp, time::between};
use cache::Cache;
use jobs::worker::{QueueHealth, WorkersHealth};
use store_postgres::PostgresOrders;
use tokio::sync::watch;
use workers::{provider::breaker::Standing, relay::RelayHealth};

pub(crate) type Checks = Vec<HealthCheck>;

/// Whether the relay can publish the outbox.
pub(crate) fn relay(health: watch::Receiver<RelayHealth>, without: HealthStatus) -> HealthCheck {
    let trouble = move || health.borrow().trouble.as_ref().map(|_| "cannot publish; orders wait".to_owned());
    HealthCheck::new("relay", without, move || ready(trouble()))
}

/// Whether these workers can consume their queues, and when each of them was last in contact with its queue.
pub(crate) fn workers(
    name: &'static str,
    health: WorkersHealth,
    without: HealthStatus,
    ambient: Ambient,
) -> HealthCheck {
    let (shown, clock) = (health.clone(), ambient.clone());
    let trouble = move || {
        // A queue that is held back is so on purpose; the component that holds it back reports the reason.
        let queues = health.queues().into_iter();
        let deaf = queues.filter(|queue| !queue.is_ready() && !queue.held_back);
        let deaf: Vec<_> = deaf.map(|queue| contact_of(&queue, ambient.now())).collect();
        (!deaf.is_empty()).then(|| format!("cannot consume: {}", deaf.join(", ")))
    };
    let note = move || {
        let queues = shown.queues().into_iter().filter_map(|queue| queue.consumer);
        let oldest = queues.map(|consumer| consumer.last_contact).min()?;
        Some(format!("last contact {} s ago", between(oldest, clock.now()).as_secs()))
    };
    HealthCheck::new(name, without, move || ready(trouble())).with_note(note)
}

/// A queue, with its last contact if it has a consumer.
fn contact_of(queue: &QueueHealth, now: Timestamp) -> String {
    let QueueHealth { queue, consumer, .. } = queue;
    consumer.as_ref().map_or_else(
        || queue.clone(),
        |consumer| format!("{queue} (last contact {} s ago)", between(consumer.last_contact, now).as_secs()),
    )
}

/// Whether the cache shared by API processes is available. Without it each process uses its own.
pub(crate) fn cache(cache: Arc<dyn Cache>) -> HealthCheck {
    let trouble = move || match cache.health() {
        cache::Health::Up => None,
        cache::Health::Down { .. } => Some(
            "unavailable; no sessions and carts, reads go to the database, limits hold per process"
                .to_owned(),
        ),
    };
    HealthCheck::new("cache", HealthStatus::Degraded, move || ready(trouble()))
}

/// Whether the payment provider can be called. Without it orders are still accepted and charged later.
pub(crate) fn provider(standing: watch::Receiver<Standing>) -> HealthCheck {
    let trouble = move || {
        let (said, why) = match *standing.borrow() {
            Standing::Closed => return None,
            Standing::Open { why } => ("circuit breaker open", why),
            Standing::HalfOpen { why } => ("circuit breaker half-open", why),
        };
        Some(format!("{said}: {why}; orders are charged later"))
    };
    HealthCheck::new("payment_provider", HealthStatus::Degraded, move || ready(trouble()))
}

/// Whether all shards are available. Merchants of the other shards can order while one is unavailable.
pub(crate) fn shards(store: PostgresOrders) -> HealthCheck {
    HealthCheck::new("shards", HealthStatus::Degraded, move || {
        let store = store.clone();
        async move {
            let away = store.health().await.into_iter().filter(|(_, answer)| answer.is_err());
            let away: Vec<_> = away.map(|(name, _)| name).collect();
            (!away.is_empty()).then(|| format!("unavailable with their merchants: {}", away.join(", ")))
        }
    })
}
