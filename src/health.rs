//! Health checks for `/readyz` beyond those of the stores. The API accepts orders without these dependencies, so its
//! process is only degraded; a process of another role is down without them.

use std::sync::Arc;

use api::{Health, HealthCheck, HealthStatus};
use async_trait::async_trait;
use cache::Cache;
use jobs::worker::WorkersHealth;
use store_postgres::PostgresOrders;
use tokio::sync::watch;
use workers::{provider::breaker::Standing, relay::RelayHealth};

pub(crate) type Checks = Vec<Arc<dyn HealthCheck>>;

/// A part of this process that knows its trouble, if any, without asking a server.
struct Watched<F> {
    name: &'static str,
    /// State while there is trouble.
    without: HealthStatus,
    trouble: F,
}

#[async_trait]
impl<F: Fn() -> Option<String> + Send + Sync + 'static> HealthCheck for Watched<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn check(&self) -> Health {
        (self.trouble)().map_or(Health::OK, |trouble| Health::not_ok(self.without, trouble))
    }
}

/// Whether the relay can publish the outbox.
pub(crate) fn relay(health: watch::Receiver<RelayHealth>, without: HealthStatus) -> Arc<dyn HealthCheck> {
    let trouble = move || health.borrow().trouble.as_ref().map(|_| "cannot publish; orders wait".to_owned());
    Arc::new(Watched { name: "relay", without, trouble })
}

/// Whether the workers can consume their queues.
pub(crate) fn workers(health: WorkersHealth, without: HealthStatus) -> Arc<dyn HealthCheck> {
    let trouble = move || {
        // A queue that is held back is so on purpose; the component that holds it back reports the reason.
        let queues = health.queues().into_iter();
        let deaf = queues.filter(|queue| !queue.is_ready() && !queue.held_back).map(|queue| queue.queue);
        let deaf: Vec<_> = deaf.collect();
        (!deaf.is_empty()).then(|| format!("cannot consume: {}", deaf.join(", ")))
    };
    Arc::new(Watched { name: "workers", without, trouble })
}

/// Whether the cache shared by API processes is available. Without it each process uses its own.
pub(crate) fn cache(cache: Arc<dyn Cache>) -> Arc<dyn HealthCheck> {
    let trouble = move || match cache.health() {
        cache::Health::Up => None,
        cache::Health::Down { .. } => Some(
            "unavailable; no sessions and carts, reads go to the database, limits hold per process"
                .to_owned(),
        ),
    };
    Arc::new(Watched { name: "cache", without: HealthStatus::Degraded, trouble })
}

/// Whether the payment provider can be called. Without it orders are still accepted and charged later.
pub(crate) fn provider(standing: watch::Receiver<Standing>) -> Arc<dyn HealthCheck> {
    let trouble = move || {
        let (said, why) = match *standing.borrow() {
            Standing::Closed => return None,
            Standing::Open { why } => ("circuit breaker open", why),
            Standing::HalfOpen { why } => ("circuit breaker half-open", why),
        };
        Some(format!("{said}: {why}; orders are charged later"))
    };
    Arc::new(Watched { name: "payment_provider", without: HealthStatus::Degraded, trouble })
}

/// Whether all shards are available. Merchants of the other shards can order while one is unavailable.
pub(crate) struct ShardsCheck(pub(crate) PostgresOrders);

#[async_trait]
impl HealthCheck for ShardsCheck {
    fn name(&self) -> &'static str {
        "shards"
    }

    async fn check(&self) -> Health {
        let away = self.0.health().await.into_iter().filter(|(_, answer)| answer.is_err());
        let away: Vec<_> = away.map(|(name, _)| name).collect();
        if away.is_empty() {
            return Health::OK;
        }
        Health::not_ok(
            self.without_answer(),
            format!("unavailable with their merchants: {}", away.join(", ")),
        )
    }

    fn without_answer(&self) -> HealthStatus {
        HealthStatus::Degraded
    }
}
