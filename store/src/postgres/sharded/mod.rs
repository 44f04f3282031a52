//! The order store over several databases: all data of a merchant is in one of them, its shard.
//!
//! Guarantees: a merchant's row (`merchants.state`) says where the merchant lives; the [`ShardMap`] only says where a
//! new one is created and which shard is asked first. A found location is cached for at most [`LOCATED_FOR`], and no
//! write relies on it: each write passes the fence of its database (`postgres::fence`) inside its transaction, and is
//! repeated on the right shard if the merchant was migrated. An unavailable shard affects its own merchants only.
//! Messages of one subject keep their order, as all of them are in one database; so they do in a migration, which hands
//! over only after all messages are sent.
//!
//! Does not promise that a *read* is newer than [`LOCATED_FOR`] for a merchant just migrated: a process that has not
//! noticed the migration reads the state at its end. No transaction spans shards, and nothing here needs one.
//!
//! Start with `ShardedOrders::write` and `routes`, which has the owner of each call; `locating` finds the shard of a
//! merchant, `relaying` is the outbox, [`merchant_migration`] migrates a merchant to another shard.
//! `docs/SHARDING.md` is for operators.

mod auditing;
mod locating;
mod map;
pub mod merchant_migration;
mod relaying;
mod routes;

pub use locating::LOCATED_FOR;
pub use map::{MapError, SHARDS_MAX, ShardMap};

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream::FuturesUnordered};

use self::{
    locating::{Located, Thing},
    relaying::{Merged, ShardPause},
};
use super::{PostgresOrders, fault::PostgresFault};
use crate::{domain::MerchantId, error::StoreError, orders::Orders};

#[cfg(feature = "conformance")]
pub(super) use locating::OWNER;

/// An order store over shards. Clones share the connections.
#[derive(Clone)]
pub struct ShardedOrders {
    shared: Arc<ShardedShared>,
}

struct ShardedShared {
    map: ShardMap,
    /// In the order of the map's names.
    shards: Vec<Shard>,
    located: Located,
    /// Rotates the shard from which the next claim begins.
    turn: AtomicUsize,
    merged: Merged,
}

struct Shard {
    store: PostgresOrders,
    rest: ShardPause,
}

impl ShardedOrders {
    /// Over these databases, by name. `pins` fixes the shards of some merchants.
    pub fn new(
        shards: BTreeMap<String, PostgresOrders>,
        pins: &BTreeMap<MerchantId, String>,
    ) -> Result<Self, MapError> {
        Self::forgetting_after(LOCATED_FOR, shards, pins)
    }

    /// The same with another lifetime of cached locations; a migration must wait longer than the longest lifetime of
    /// any process.
    pub fn forgetting_after(
        located_for: Duration,
        shards: BTreeMap<String, PostgresOrders>,
        pins: &BTreeMap<MerchantId, String>,
    ) -> Result<Self, MapError> {
        let map = ShardMap::new(shards.keys().cloned(), pins)?;
        let shards = shards.into_values().map(|store| Shard { store, rest: ShardPause::default() }).collect();
        let (located, merged) = (Located::new(located_for), Merged::default());
        Ok(Self {
            shared: Arc::new(ShardedShared { map, shards, located, turn: AtomicUsize::new(0), merged }),
        })
    }

    /// The answer of each shard to a ping, by name; for readiness.
    pub async fn health(&self) -> Vec<(String, Result<(), StoreError>)> {
        let asked = self.stores().map(PostgresOrders::ping);
        self.shared.map.names().iter().cloned().zip(join_all(asked).await).collect()
    }

    /// Writes a merchant's data on its shard. If the merchant turns out to have been migrated, `act` is repeated once:
    /// the fence has rejected the first attempt, which changed nothing.
    async fn write<T, F>(
        &self,
        merchant: MerchantId,
        act: impl Fn(PostgresOrders) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let Some(shard) = self.locate(merchant).await? else {
            // An unknown merchant: any shard gives the same answer.
            return act(self.store(self.shared.map.home(merchant)).clone()).await;
        };
        match act(self.store(shard).fenced(merchant)).await {
            Err(error) if is_elsewhere(&error) => {}
            answer => return answer,
        }
        self.shared.located.forget(merchant).await;
        match self.locate(merchant).await? {
            Some(shard) => act(self.store(shard).fenced(merchant)).await,
            None => Err(PostgresFault::MerchantElsewhere.into()),
        }
    }

    /// Reads a merchant's data on its shard.
    async fn read<T, F>(
        &self,
        merchant: MerchantId,
        act: impl Fn(PostgresOrders) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let shard = self.locate(merchant).await?.unwrap_or_else(|| self.shared.map.home(merchant));
        act(self.store(shard).clone()).await
    }

    /// [`Self::write`] for a call that names no merchant. If no shard knows the owner, the first shard answers, which
    /// does not know it either.
    async fn write_of<T, F>(
        &self,
        thing: Thing,
        act: impl Fn(PostgresOrders) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        match self.owner(thing).await? {
            Some(merchant) => self.write(merchant, act).await,
            None => act(self.store(0).clone()).await,
        }
    }

    /// [`Self::read`] for a call that names no merchant.
    async fn read_of<T, F>(
        &self,
        thing: Thing,
        act: impl Fn(PostgresOrders) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        match self.owner(thing).await? {
            Some(merchant) => self.read(merchant, act).await,
            None => act(self.store(0).clone()).await,
        }
    }

    fn stores(&self) -> impl Iterator<Item = &PostgresOrders> {
        self.shared.shards.iter().map(|shard| &shard.store)
    }

    fn store(&self, shard: usize) -> &PostgresOrders {
        &self.shared.shards[shard].store
    }

    /// Asks all shards concurrently until one has an answer. If none has, an error of any shard is returned: it might
    /// have had the answer.
    async fn first<T, F>(&self, ask: impl Fn(usize, PostgresOrders) -> F) -> Result<Option<T>, PostgresFault>
    where
        F: Future<Output = Result<Option<T>, PostgresFault>>,
    {
        let shards = self.shared.shards.iter().enumerate();
        let mut asked: FuturesUnordered<_> =
            shards.map(|(number, shard)| ask(number, shard.store.clone())).collect();
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
}

fn is_elsewhere(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else { return false };
    matches!(source.downcast_ref(), Some(PostgresFault::MerchantElsewhere))
}
