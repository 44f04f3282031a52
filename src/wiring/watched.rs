//! Stores that a command watches beside running servers: queues, job store and outbox, without payments and caches.

use std::sync::Arc;

use anyhow::Result;
use jobs::{Engine, job_store::JobStore};
use store::OrderStore;

use super::{Wiring, folder, orders::Role};

pub(crate) struct WatchedStores {
    pub(crate) orders: Arc<dyn OrderStore>,
    pub(crate) queue: Arc<dyn Engine>,
    pub(crate) store: Arc<dyn JobStore>,
}

impl Wiring<'_> {
    /// Opens what is watched. Declares no queue, reclaims no lease, and creates nothing in a folder without data.
    pub(crate) async fn watched(&self) -> Result<WatchedStores> {
        folder::require_data(&self.config.engines.queue)?;
        folder::require_orders(&self.config.engines.orders)?;
        let orders = self.open_orders(Role::Console).await?.store;
        Ok(WatchedStores { orders, queue: self.queue().await?, store: self.job_store().await? })
    }
}
