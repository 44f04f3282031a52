//! Writes: each on the primary of its owner, repeated where a merchant was migrated meanwhile.

use base::{ids::Uuid, postgres::Query};
use store::domain::{MerchantId, OrderId};

use super::{Router, owner::Owner};
use crate::{
    database::{OrderDatabase, Work},
    fault::{PostgresFault, Result},
};

impl Router {
    /// Runs `work` over `facts` in a transaction on the primary of the owner.
    pub(crate) async fn write<A: Sync, T: Send>(
        &self,
        owner: impl Into<Owner>,
        facts: A,
        work: Work<A, T>,
    ) -> Result<T> {
        let facts = &facts;
        self.on_primary(owner.into(), |database| async move { database.write(facts, work).await }).await
    }

    /// Runs one statement, which is a transaction by itself, on the primary of the owner; returns the number of rows
    /// changed.
    pub(crate) async fn run<'q>(
        &self,
        owner: impl Into<Owner>,
        query: impl Fn() -> Query<'q>,
    ) -> Result<u64> {
        let run = |database: OrderDatabase| {
            let query = query();
            async move { database.run(query).await }
        };
        self.on_primary(owner.into(), run).await
    }

    /// Writes the owner's data on its primary. If the merchant turns out to have been migrated, `act` is repeated once:
    /// the fence has rejected the first attempt, which changed nothing. Without a merchant any shard gives the same
    /// answer.
    pub(crate) async fn on_primary<T, F>(&self, owner: Owner, act: impl Fn(OrderDatabase) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let _recorded = self.record_write(owner.key());
        let Some(locations) = &self.locations else { return act(self.first().clone()).await };
        let Some(merchant) = Box::pin(self.merchant_of(locations, owner)).await? else {
            return act(self.first().clone()).await;
        };
        let also = Some(merchant.0).filter(|id| Some(*id) != owner.key());
        let _recorded_for_merchant = self.record_write(also);
        let Some(location) = Box::pin(locations.locate(&self.members, merchant)).await? else {
            return act(self.members[locations.map.home(merchant)].primary.clone()).await;
        };
        match act(self.members[location.shard].primary.fenced(merchant)).await {
            Err(fault) if fault.is_elsewhere() => {}
            answer => return answer,
        }
        Box::pin(locations.homes.invalidate(&merchant)).await;
        match Box::pin(locations.locate(&self.members, merchant)).await? {
            Some(location) => act(self.members[location.shard].primary.fenced(merchant)).await,
            None => Err(PostgresFault::MerchantElsewhere),
        }
    }

    /// The database on which to create a merchant; `None` when a shard knows it.
    pub(crate) async fn home_of_new(&self, merchant: MerchantId) -> Result<Option<&OrderDatabase>> {
        let Some(locations) = &self.locations else { return Ok(Some(self.first())) };
        let known = locations.locate(&self.members, merchant).await?;
        Ok(known.is_none().then(|| &self.members[locations.map.home(merchant)].primary))
    }

    /// Remembers the merchant of a new order, so that its next writes need not look for it.
    pub(crate) async fn note_owner(&self, order: OrderId, merchant: MerchantId) {
        if let Some(locations) = &self.locations {
            locations.owners.insert(order.0, merchant).await;
        }
    }

    /// Records that a write of a merchant's data was answered, for calls that do not name the merchant.
    pub(crate) fn note_write(&self, merchant: MerchantId) {
        drop(self.record_write(Some(merchant.0)));
    }

    fn record_write(&self, key: Option<Uuid>) -> RecordedWrite<'_> {
        RecordedWrite { router: self, key: key.filter(|_| self.has_replicas) }
    }
}

/// Guard of a write: on drop it records its end, also of one that failed or was dropped, as it may have been committed.
struct RecordedWrite<'a> {
    router: &'a Router,
    key: Option<Uuid>,
}

impl Drop for RecordedWrite<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.router.recent_writes.mark(key, self.router.fresh_until());
        }
    }
}
