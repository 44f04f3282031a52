//! The order store over several databases: each merchant lives whole in one of them, its shard.
//!
//! Guarantees: a merchant's row (`merchants.state`) says where it lives; the [`ShardMap`] only says where a new one goes
//! and who is asked first. What was found is remembered for [`LOCATED_FOR`] at most, and no write relies on it: each passes
//! the fence of its database (`postgres::fence`) inside its transaction and is taken to the right one if the merchant has
//! moved. A shard that is away takes its own merchants with it and nobody else. Messages of one subject keep their order,
//! as all of them lie in one database; so does a move, which hands over only once everything was sent.
//!
//! Does not promise that a *read* is newer than [`LOCATED_FOR`] for a merchant that has just moved: a process that has not
//! noticed reads what it was at the end of the move. No transaction spans shards, and nothing here needs one.
//!
//! Start with `ShardedOrders::write` and `routes`, which says for each call whose it is; `locating` finds out where
//! somebody lives, `relaying` is the outbox, [`moving`] takes a merchant to another shard. `docs/SHARDING.md` is for operators.

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
    /// Whose turn it is to be asked first for messages.
    turn: AtomicUsize,
    merged: Merged,
}

struct Shard {
    store: PostgresOrders,
    rest: ShardPause,
}

impl ShardedOrders {
    /// Over these databases, by name. `pins` are merchants whose home is fixed.
    pub fn new(
        shards: BTreeMap<String, PostgresOrders>,
        pins: &BTreeMap<MerchantId, String>,
    ) -> Result<Self, MapError> {
        Self::forgetting_after(LOCATED_FOR, shards, pins)
    }

    /// The same with another time for which it is remembered where a merchant lives; moves must wait longer than the
    /// longest of any process.
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

    /// What each shard says to a ping, by name; for readiness.
    pub async fn health(&self) -> Vec<(String, Result<(), StoreError>)> {
        let asked = self.stores().map(PostgresOrders::ping);
        self.shared.map.names().iter().cloned().zip(join_all(asked).await).collect()
    }

    /// Writes a merchant's data where it lives. `act` is done again, once, when the merchant turns out to have moved: the
    /// fence let nothing of the first time take effect.
    async fn write<T, F>(
        &self,
        merchant: MerchantId,
        act: impl Fn(PostgresOrders) -> F + Send + Sync,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let Some(shard) = self.locate(merchant).await? else {
            // Nobody's: the answer is what any store says to a stranger.
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

    /// Reads a merchant's data where it lives.
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

    /// [`Self::write`] for what names no merchant. What nobody owns is asked of the first shard, which does not know it
    /// either.
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

    /// [`Self::read`] for what names no merchant.
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

    /// Asks all shards at once until one knows. If none does, a shard that could not be asked makes it unknown whether
    /// there is an answer.
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
