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

/// Whether the relay can publish the outbox.
pub(crate) struct RelayCheck(pub(crate) watch::Receiver<RelayHealth>, pub(crate) HealthStatus);

/// Whether the workers can consume their queues.
pub(crate) struct WorkersCheck(pub(crate) WorkersHealth, pub(crate) HealthStatus);

/// Whether the cache shared by API processes is available. Without it each process uses its own.
pub(crate) struct CacheCheck(pub(crate) Arc<dyn Cache>);

/// Whether the payment provider can be called. Without it orders are still accepted and charged later.
pub(crate) struct ProviderCheck(pub(crate) watch::Receiver<Standing>);

#[async_trait]
impl HealthCheck for ProviderCheck {
    fn name(&self) -> &'static str {
        "payment_provider"
    }

    async fn check(&self) -> Health {
        let (said, why) = match *self.0.borrow() {
            Standing::Closed => return Health::OK,
            Standing::Open { why } => ("circuit breaker open", why),
            Standing::HalfOpen { why } => ("circuit breaker half-open", why),
        };
        Health::not_ok(self.without_answer(), format!("{said}: {why}; orders are charged later"))
    }

    fn without_answer(&self) -> HealthStatus {
        HealthStatus::Degraded
    }
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

#[async_trait]
impl HealthCheck for CacheCheck {
    fn name(&self) -> &'static str {
        "cache"
    }

    async fn check(&self) -> Health {
        match self.0.health() {
            cache::Health::Up => Health::OK,
            cache::Health::Down { .. } => Health::not_ok(
                self.without_answer(),
                "unavailable; no sessions and carts, reads go to the database, limits hold per process",
            ),
        }
    }

    fn without_answer(&self) -> HealthStatus {
        HealthStatus::Degraded
    }
}

#[async_trait]
impl HealthCheck for RelayCheck {
    fn name(&self) -> &'static str {
        "relay"
    }

    async fn check(&self) -> Health {
        let healthy = self.0.borrow().trouble.is_none();
        if healthy { Health::OK } else { Health::not_ok(self.1, "cannot publish; orders wait") }
    }
}

#[async_trait]
impl HealthCheck for WorkersCheck {
    fn name(&self) -> &'static str {
        "workers"
    }

    async fn check(&self) -> Health {
        // A queue that is held back is so on purpose; the component that holds it back reports the reason.
        let queues = self.0.queues().into_iter();
        let deaf = queues.filter(|queue| !queue.is_ready() && !queue.held_back).map(|queue| queue.queue);
        let deaf: Vec<_> = deaf.collect();
        if deaf.is_empty() {
            return Health::OK;
        }
        Health::not_ok(self.1, format!("cannot consume: {}", deaf.join(", ")))
    }
}
