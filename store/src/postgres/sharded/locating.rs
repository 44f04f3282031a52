//! Locations: the merchant that owns a record, and the shard of a merchant.
//!
//! Guarantees: the caches are bounded. The owner of a record never changes and is cached without a time limit; the
//! shard of a merchant is cached for at most [`LOCATED_FOR`], counted from before the shards were asked. A merchant
//! between the two commits of a migration's hand-over is "unavailable", not unknown. So is a merchant that no reachable
//! shard knows while another shard is unreachable.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use base::ids::Uuid;
use futures::{StreamExt, stream::FuturesUnordered};
use moka::future::Cache;
use tokio::time::Instant;

use super::ShardedOrders;
use crate::{
    domain::{CustomerId, EndpointId, EventId, MerchantId, OrderId},
    error::StoreError,
    merchants::{KeyHash, KeyRecord},
    orders::MailSubject,
    postgres::{
        PostgresOrders,
        fault::PostgresFault,
        fence::MerchantState,
        merchants,
        row::{get, id},
    },
};

/// Lifetime of a cached location of a merchant.
pub const LOCATED_FOR: Duration = Duration::from_secs(10);
/// Merchants and keys cached at most; one takes about a hundred bytes.
const MERCHANTS_MAX: u64 = 50_000;
/// Owned records cached at most, chiefly orders in progress.
const THINGS_MAX: u64 = 100_000;

pub(in crate::postgres) const OWNER: &str = "
    SELECT merchant_id FROM orders WHERE id = $1
    UNION ALL SELECT merchant_id FROM webhook_endpoints WHERE id = $2
    UNION ALL SELECT merchant_id FROM outbox WHERE id = $3
    UNION ALL SELECT merchant_id FROM customers WHERE id = $4
    LIMIT 1";
const KEY: &str = "
    SELECT k.id, k.merchant_id, k.scope, m.state FROM api_keys AS k JOIN merchants AS m ON m.id = k.merchant_id
    WHERE k.hash = $1";

/// A record of a merchant, named by any of these ids without the merchant.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Thing {
    pub(super) order: Option<OrderId>,
    pub(super) endpoint: Option<EndpointId>,
    pub(super) event: Option<EventId>,
    pub(super) customer: Option<CustomerId>,
}

impl Thing {
    pub(super) fn order(id: OrderId) -> Self {
        Self { order: Some(id), ..Self::default() }
    }

    pub(super) fn endpoint(id: EndpointId) -> Self {
        Self { endpoint: Some(id), ..Self::default() }
    }

    pub(super) fn event(id: EventId) -> Self {
        Self { event: Some(id), ..Self::default() }
    }

    pub(super) fn customer(id: CustomerId) -> Self {
        Self { customer: Some(id), ..Self::default() }
    }

    pub(super) fn mailed(subject: MailSubject) -> Self {
        match subject {
            MailSubject::Order(id) => Self::order(id),
            MailSubject::Customer(id) => Self::customer(id),
        }
    }

    /// The arguments of [`OWNER`].
    fn by_kind(self) -> [Option<Uuid>; 4] {
        let Self { order, endpoint, event, customer } = self;
        [order.map(|id| id.0), endpoint.map(|id| id.0), event.map(|id| id.0), customer.map(|id| id.0)]
    }

    /// UUIDs are unique across kinds of records.
    fn ids(self) -> impl Iterator<Item = Uuid> {
        self.by_kind().into_iter().flatten()
    }
}

/// The cached locations.
pub(super) struct Located {
    homes: Cache<MerchantId, (usize, Instant)>,
    owners: Cache<Uuid, MerchantId>,
    /// The shard that knew a key; it is asked again each time, as the key may have been revoked.
    keys: Cache<KeyHash, usize>,
    keep_for: Duration,
}

impl Located {
    pub(super) fn new(keep_for: Duration) -> Self {
        Self {
            homes: Cache::new(MERCHANTS_MAX),
            owners: Cache::new(THINGS_MAX),
            keys: Cache::new(MERCHANTS_MAX),
            keep_for,
        }
    }

    pub(super) async fn forget(&self, merchant: MerchantId) {
        self.homes.invalidate(&merchant).await;
    }

    pub(super) async fn note_owner(&self, thing: Uuid, merchant: MerchantId) {
        self.owners.insert(thing, merchant).await;
    }
}

impl ShardedOrders {
    /// The shard of a merchant; `None` when all shards answer that they do not know the merchant.
    pub(super) async fn locate(&self, merchant: MerchantId) -> Result<Option<usize>, StoreError> {
        let located = &self.shared.located;
        let known = located.homes.get(&merchant).await;
        if let Some((shard, at)) = known
            && at.elapsed() < located.keep_for
        {
            return Ok(Some(shard));
        }
        let at = Instant::now();
        let found = self.look_for(merchant).await?;
        if let Some(shard) = found {
            located.homes.insert(merchant, (shard, at)).await;
        }
        Ok(found)
    }

    async fn look_for(&self, merchant: MerchantId) -> Result<Option<usize>, PostgresFault> {
        let home = self.shared.map.home(merchant);
        let at_home = self.store(home).state_of(merchant).await;
        if matches!(at_home, Ok(Some(state)) if state.is_here()) {
            return Ok(Some(home));
        }
        let others = (0..self.shared.shards.len()).filter(|shard| *shard != home);
        let mut asked: FuturesUnordered<_> =
            others.map(|shard| async move { (shard, self.store(shard).state_of(merchant).await) }).collect();
        let mut said = vec![at_home];
        while let Some((shard, state)) = asked.next().await {
            if matches!(state, Ok(Some(state)) if state.is_here()) {
                return Ok(Some(shard));
            }
            said.push(state);
        }
        let said = said.into_iter().collect::<Result<Vec<_>, _>>()?;
        if said.iter().any(Option::is_some) { Err(PostgresFault::MerchantMigrating) } else { Ok(None) }
    }

    /// The owner of a record; `None` when all shards answer that they do not know the record.
    pub(super) async fn owner(&self, thing: Thing) -> Result<Option<MerchantId>, StoreError> {
        let owners = &self.shared.located.owners;
        for id in thing.ids() {
            if let Some(merchant) = owners.get(&id).await {
                return Ok(Some(merchant));
            }
        }
        let found = self.first(|_, store| async move { store.owner_of(thing).await }).await?;
        if let Some(merchant) = found {
            for id in thing.ids() {
                owners.insert(id, merchant).await;
            }
        }
        Ok(found)
    }

    /// The record of an API key, from the shard of its merchant only: copies on other shards do not count, so that a
    /// revoked key is rejected.
    pub(super) async fn key(&self, hash: KeyHash) -> Result<Option<KeyRecord>, StoreError> {
        let located = &self.shared.located;
        if let Some(shard) = located.keys.get(&hash).await
            && let Ok(Some((record, state))) = self.store(shard).key_with_state(hash).await
            && state.is_here()
        {
            return Ok(Some(record));
        }
        // A merchant that lives elsewhere is no answer, but not unknown either.
        let between = AtomicBool::new(false);
        let ask = |shard, store: PostgresOrders| {
            let between = &between;
            async move {
                let found = store.key_with_state(hash).await?;
                between.fetch_or(found.is_some(), Ordering::Relaxed);
                Ok(found.filter(|(_, state)| state.is_here()).map(|(record, _)| (record, shard)))
            }
        };
        if let Some((record, shard)) = self.first(ask).await? {
            located.keys.insert(hash, shard).await;
            return Ok(Some(record));
        }
        if between.into_inner() { Err(PostgresFault::MerchantMigrating.into()) } else { Ok(None) }
    }
}

impl PostgresOrders {
    async fn owner_of(&self, thing: Thing) -> Result<Option<MerchantId>, PostgresFault> {
        let query = thing.by_kind().into_iter().fold(sqlx::query(OWNER), sqlx::query::Query::bind);
        self.row(query).await?.map(|row| id(&row, "merchant_id", MerchantId)).transpose()
    }

    async fn key_with_state(
        &self,
        hash: KeyHash,
    ) -> Result<Option<(KeyRecord, MerchantState)>, PostgresFault> {
        let Some(row) = self.row(sqlx::query(KEY).bind(hash.to_vec())).await? else { return Ok(None) };
        Ok(Some((merchants::key(&row)?, MerchantState::of(get(&row, "state")?)?)))
    }
}
