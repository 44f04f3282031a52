//! Locations: the merchant that owns a record, and the shard of a merchant.
//!
//! Guarantees: the caches are bounded. The owner of a record never changes and is cached without a time limit; the
//! shard of a merchant is cached for at most [`LOCATED_FOR`](super::LOCATED_FOR), counted from before the shards were
//! asked. A merchant between the two commits of a migration's hand-over is "unavailable", not unknown. So is a merchant
//! that no reachable shard knows while another shard is unreachable. Asks primaries only.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use base::{ids::Uuid, postgres::Database};
use futures::{StreamExt, stream::FuturesUnordered};
use moka::future::Cache;
use store::{
    domain::MerchantId,
    merchants::{KeyHash, StoredKey},
    rules::{columns::Columns, rows},
};
use tokio::time::Instant;

use super::{member::Member, owner::RecordIds, shard_map::ShardMap};
use crate::{
    fault::{PostgresFault, Result},
    fence::{MerchantState, state_of},
    row::get,
};

/// Merchants and keys cached at most; one takes about a hundred bytes.
const MERCHANTS_MAX: u64 = 50_000;
/// Owned records cached at most, chiefly orders in progress.
const RECORDS_MAX: u64 = 100_000;

pub(crate) const OWNER: &str = "
    SELECT merchant_id FROM orders WHERE id = $1
    UNION ALL SELECT merchant_id FROM webhook_endpoints WHERE id = $2
    UNION ALL SELECT merchant_id FROM outbox WHERE id = $3
    UNION ALL SELECT merchant_id FROM customers WHERE id = $4
    LIMIT 1";
const KEY: &str = "
    SELECT k.id, k.merchant_id, k.scope, k.label, k.prefix, k.created_at, k.last_used_at, k.revoked_at, m.state
    FROM api_keys AS k JOIN merchants AS m ON m.id = k.merchant_id WHERE k.hash = $1";

/// The shard on which a merchant lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Location {
    pub(super) shard: usize,
    /// The merchant lived there at this time.
    pub(super) at: Instant,
}

/// The shard map, and the cached locations.
pub(super) struct Locations {
    pub(super) map: ShardMap,
    pub(super) homes: Cache<MerchantId, Location>,
    pub(super) owners: Cache<Uuid, MerchantId>,
    /// The shard that knew a key; it is asked again each time, as the key may have been revoked.
    keys: Cache<KeyHash, usize>,
    keep_for: Duration,
}

impl Locations {
    pub(super) fn new(map: ShardMap, keep_for: Duration) -> Self {
        Self {
            map,
            homes: Cache::new(MERCHANTS_MAX),
            owners: Cache::new(RECORDS_MAX),
            keys: Cache::new(MERCHANTS_MAX),
            keep_for,
        }
    }

    /// The shard of a merchant; `None` when all shards answer that they do not know the merchant.
    pub(super) async fn locate(&self, members: &[Member], merchant: MerchantId) -> Result<Option<Location>> {
        let known = self.homes.get(&merchant).await;
        if let Some(location) = known
            && location.at.elapsed() < self.keep_for
        {
            return Ok(Some(location));
        }
        let at = Instant::now();
        let found = self.look_for(members, merchant).await?.map(|shard| Location { shard, at });
        if let Some(location) = found {
            self.homes.insert(merchant, location).await;
        }
        Ok(found)
    }

    /// Whether the merchant still lives at a cached location; if not, the location is forgotten.
    pub(super) async fn confirm(
        &self,
        members: &[Member],
        merchant: MerchantId,
        location: Location,
    ) -> Result<bool> {
        let state = state_of(members[location.shard].primary.reads(), merchant).await?;
        let is_here = state.is_some_and(MerchantState::is_here);
        if !is_here {
            self.homes.invalidate(&merchant).await;
        }
        Ok(is_here)
    }

    async fn look_for(&self, members: &[Member], merchant: MerchantId) -> Result<Option<usize>> {
        let state = |shard: usize| state_of(members[shard].primary.reads(), merchant);
        let home = self.map.home(merchant);
        let at_home = state(home).await;
        if matches!(at_home, Ok(Some(state)) if state.is_here()) {
            return Ok(Some(home));
        }
        let others = (0..members.len()).filter(|shard| *shard != home);
        let mut asked: FuturesUnordered<_> =
            others.map(|shard| async move { (shard, state(shard).await) }).collect();
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
    pub(super) async fn owner(&self, members: &[Member], record: RecordIds) -> Result<Option<MerchantId>> {
        for id in record.ids() {
            if let Some(merchant) = self.owners.get(&id).await {
                return Ok(Some(merchant));
            }
        }
        let found = first(members, |_, database| async move { owner_of(&database, record).await }).await?;
        if let Some(merchant) = found {
            for id in record.ids() {
                self.owners.insert(id, merchant).await;
            }
        }
        Ok(found)
    }

    /// An API key, from the shard of its merchant only: copies on other shards do not count, so that a revoked key is
    /// seen as such.
    pub(super) async fn key(&self, members: &[Member], hash: KeyHash) -> Result<Option<StoredKey>> {
        if let Some(shard) = self.keys.get(&hash).await
            && let Ok(Some((key, state))) = key_with_state(members[shard].primary.reads(), hash).await
            && state.is_here()
        {
            return Ok(Some(key));
        }
        // A merchant that lives elsewhere is no answer, but not unknown either.
        let between = AtomicBool::new(false);
        let ask = |shard, database: Database| {
            let between = &between;
            async move {
                let found = key_with_state(&database, hash).await?;
                between.fetch_or(found.is_some(), Ordering::Relaxed);
                Ok(found.filter(|(_, state)| state.is_here()).map(|(key, _)| (key, shard)))
            }
        };
        if let Some((key, shard)) = first(members, ask).await? {
            self.keys.insert(hash, shard).await;
            return Ok(Some(key));
        }
        if between.into_inner() { Err(PostgresFault::MerchantMigrating) } else { Ok(None) }
    }
}

/// Asks all shards concurrently until one has an answer. If none has, an error of any shard is returned: it might have
/// had the answer.
async fn first<T, F>(members: &[Member], ask: impl Fn(usize, Database) -> F) -> Result<Option<T>>
where
    F: Future<Output = Result<Option<T>>>,
{
    let numbered = members.iter().enumerate();
    let mut asked: FuturesUnordered<_> =
        numbered.map(|(shard, member)| ask(shard, member.primary.reads().clone())).collect();
    let mut failed = None;
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(fault) => failed = Some(fault),
        }
    }
    failed.map_or(Ok(None), Err)
}

async fn owner_of(database: &Database, record: RecordIds) -> Result<Option<MerchantId>> {
    let query = record.by_kind().into_iter().fold(sqlx::query(OWNER), sqlx::query::Query::bind);
    database.row(query).await?.map(|row| row.id("merchant_id", MerchantId)).transpose()
}

/// An API key, and the state of its merchant in this database.
pub(super) async fn key_with_state(
    database: &Database,
    hash: KeyHash,
) -> Result<Option<(StoredKey, MerchantState)>> {
    let Some(row) = database.row(sqlx::query(KEY).bind(hash.to_vec())).await? else { return Ok(None) };
    Ok(Some((rows::key(&row)?, MerchantState::of(get(&row, "state")?)?)))
}
