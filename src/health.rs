//! What `/readyz` asks beside the stores. The API takes orders without either, so beside it they only degrade; a
//! process that does nothing else is down without them.

use std::sync::Arc;

use api::{Health, HealthCheck, HealthStatus};
use async_trait::async_trait;
use jobs::worker::WorkersHealth;
use store::{
    cache::{self, Cache},
    postgres::sharded::ShardedOrders,
};
use tokio::sync::watch;
use workers::{provider::breaker::Standing, relay::RelayHealth};

/// Whether the outbox is emptied.
pub(crate) struct RelayCheck(pub(crate) watch::Receiver<RelayHealth>, pub(crate) HealthStatus);

/// Whether jobs can be run.
pub(crate) struct WorkersCheck(pub(crate) WorkersHealth, pub(crate) HealthStatus);

/// Whether what API processes share can be reached. Without it each goes on by itself.
pub(crate) struct CacheCheck(pub(crate) Arc<dyn Cache>);

/// Whether the payment provider can be called. Orders are taken without it and charged later.
pub(crate) struct ProviderCheck(pub(crate) watch::Receiver<Standing>);

#[async_trait]
impl HealthCheck for ProviderCheck {
    fn name(&self) -> &'static str {
        "payment_provider"
    }

    async fn check(&self) -> Health {
        let (said, why) = match *self.0.borrow() {
            Standing::Closed => return Health::OK,
            Standing::Open { why } => ("given a rest", why),
            Standing::HalfOpen { why } => ("being tried again", why),
        };
        Health::not_ok(self.without_answer(), format!("{said}: {why}; orders are charged later"))
    }

    fn without_answer(&self) -> HealthStatus {
        HealthStatus::Degraded
    }
}

/// Whether every shard can be used. The merchants of the others can order without one that is away.
pub(crate) struct ShardsCheck(pub(crate) ShardedOrders);

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
            format!("away, and their merchants with them: {}", away.join(", ")),
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
                "does not answer; no sessions and carts, reads go to the database, limits hold per process",
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
        // One that is held back is so on purpose; who holds it says why.
        let queues = self.0.queues().into_iter();
        let deaf = queues.filter(|queue| !queue.is_ready() && !queue.held_back).map(|queue| queue.queue);
        let deaf: Vec<_> = deaf.collect();
        if deaf.is_empty() {
            return Health::OK;
        }
        Health::not_ok(self.1, format!("cannot consume: {}", deaf.join(", ")))
    }
}
