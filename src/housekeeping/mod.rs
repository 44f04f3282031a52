//! Engines of the housekeeping jobs of [`workers::housekeeping`]: partitions in PostgreSQL, and sessions.
//!
//! Several schedulers may run: every step is idempotent.

use std::{sync::Arc, time::Duration};

use base::Timestamp;
use cache::Sessions;
use jobs::{async_trait, error::Cause};
use store::StoreError;
use store_postgres::{
    PostgresOrders,
    partitions::{Dropped, Family},
};
use workers::housekeeping::{ExpireSessions, Partitions};

#[cfg(test)]
mod tests;

/// Months of partitions created ahead: the scheduler may be down for weeks.
const MONTHS_AHEAD: u32 = 3;

/// Partitioned tables, and the retention of those that are not kept for ever.
pub(crate) struct Partitioning {
    pub(crate) tables: Arc<PostgresOrders>,
    pub(crate) keep: Vec<(Family, Duration)>,
}

#[async_trait]
impl Partitions for Partitioning {
    async fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        match self.tables.create_partitions(now, MONTHS_AHEAD).await {
            Ok(tables) if tables.is_empty() => {}
            Ok(tables) => tracing::info!(?tables, "partitions created"),
            Err(error) => {
                tracing::warn!(%error, "partitions not created; retrying later");
                outcome = Err(error);
            }
        }
        for (family, keep) in &self.keep {
            match self.tables.drop_partitions(*family, now, *keep).await {
                Ok(dropped) if dropped == Dropped::default() => {}
                Ok(Dropped { tables, kept }) => {
                    tracing::info!(?tables, ?kept, "expired partitions dropped or kept");
                }
                Err(error) => {
                    tracing::warn!(%error, ?family, "partitions not dropped; retrying later");
                    outcome = outcome.and(Err(error));
                }
            }
        }
        outcome
    }
}

/// Sessions of any engine; one whose server ends them itself deletes none.
pub(crate) struct StoredSessions(pub(crate) Arc<dyn Sessions>);

#[async_trait]
impl ExpireSessions for StoredSessions {
    async fn expire(&self, limit: u32) -> Result<u64, Cause> {
        Ok(self.0.expire(limit).await?)
    }
}
