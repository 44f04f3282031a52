//! Reads: each on the primary of its owner, or on a replica of it.

use std::collections::{BTreeMap, BTreeSet};

use base::{
    ids::Uuid,
    postgres::{Database, Query},
};
use sqlx::postgres::PgRow;
use store::{
    domain::{MerchantId, OrderId},
    merchants::{KeyHash, StoredKey},
    rules::columns::Columns,
};
use tokio::time::Instant;

use super::{
    ReadMode, Router,
    locations::{Location, Locations, key_with_state},
    member::Member,
    owner::Owner,
};
use crate::{
    fault::PostgresFault,
    order_records::STORED,
    row::{column, get},
};

impl Router {
    /// The first row of a read; `None` comes from the primary.
    pub(crate) async fn row<'q, T>(
        &self,
        owner: impl Into<Owner>,
        mode: ReadMode,
        query: impl Fn() -> Query<'q>,
        of_row: impl Fn(&PgRow) -> Result<T, PostgresFault>,
    ) -> Result<Option<T>, PostgresFault> {
        let ask = |database: Database| {
            let query = query();
            async move { Ok(database.row(query).await?) }
        };
        self.read(owner, mode, ask, Option::is_none).await?.as_ref().map(of_row).transpose()
    }

    /// All rows of a read; the statement sees one snapshot.
    pub(crate) async fn rows<'q, T>(
        &self,
        owner: impl Into<Owner>,
        mode: ReadMode,
        query: impl Fn() -> Query<'q>,
        of_row: impl Fn(&PgRow) -> Result<T, PostgresFault>,
    ) -> Result<Vec<T>, PostgresFault> {
        let ask = |database: Database| {
            let query = query();
            async move { Ok(database.rows(query).await?) }
        };
        self.read(owner, mode, ask, |_| false).await?.iter().map(of_row).collect()
    }

    /// Reads the owner's data. `is_missing` tells an answer that may be due to a replica's lag: the primary is then
    /// asked.
    ///
    /// An answer by a cached location is confirmed where a decision depends on it, and where it is missing: the
    /// merchant may have been migrated, leaving a copy or nothing. The read is then repeated on the right shard.
    pub(crate) async fn read<T, F>(
        &self,
        owner: impl Into<Owner>,
        mode: ReadMode,
        ask: impl Fn(Database) -> F,
        is_missing: impl Fn(&T) -> bool,
    ) -> Result<T, PostgresFault>
    where
        F: Future<Output = Result<T, PostgresFault>>,
    {
        let (owner, began) = (owner.into(), Instant::now());
        let place = self.place_of(owner).await?;
        let answer = self.read_at(&place, owner, mode, &ask, &is_missing).await?;
        let needs_proof = mode == ReadMode::Primary || is_missing(&answer);
        if !needs_proof || self.is_proven(&place, began).await? {
            return Ok(answer);
        }
        self.read_at(&self.place_of(owner).await?, owner, mode, &ask, &is_missing).await
    }

    /// Reads data of many orders on the primaries, that of one shard together. `None` when a merchant turns out to have
    /// left a shard meanwhile, which is then forgotten.
    pub(crate) async fn read_together<T, F>(
        &self,
        orders: &[OrderId],
        ask: impl Fn(Database, Vec<Uuid>) -> F,
    ) -> Result<Option<Vec<T>>, PostgresFault>
    where
        F: Future<Output = Result<T, PostgresFault>>,
    {
        let (began, ids) = (Instant::now(), column(orders, |order| order.0));
        if self.locations.is_none() {
            return Ok(Some(vec![ask(self.first().reads().clone(), ids).await?]));
        }
        // The merchant of an order never changes, so a copy that a migration left names it as well.
        let mut by_merchant = BTreeMap::<MerchantId, BTreeSet<Uuid>>::new();
        let found = self.pages(|database| merchants_of(database, ids.clone())).await?;
        for (merchant, id) in found.into_iter().flatten() {
            by_merchant.entry(merchant).or_default().insert(id);
        }
        let mut by_shard = BTreeMap::<u16, (Vec<ReadPlace<'_>>, Vec<Uuid>)>::new();
        for (merchant, ids) in by_merchant {
            let place = self.place_of(merchant.into()).await?;
            let shard = by_shard.entry(place.member.primary.number()).or_default();
            shard.0.push(place);
            shard.1.extend(ids);
        }
        let mut answers = Vec::new();
        for (places, ids) in by_shard.into_values() {
            let Some(ReadPlace { member, .. }) = places.first() else { continue };
            answers.push(ask(member.primary.reads().clone(), ids).await?);
            for place in &places {
                if !self.is_proven(place, began).await? {
                    return Ok(None);
                }
            }
        }
        Ok(Some(answers))
    }

    async fn read_at<T, F>(
        &self,
        place: &ReadPlace<'_>,
        owner: Owner,
        mode: ReadMode,
        ask: &impl Fn(Database) -> F,
        is_missing: &impl Fn(&T) -> bool,
    ) -> Result<T, PostgresFault>
    where
        F: Future<Output = Result<T, PostgresFault>>,
    {
        let ReadPlace { member, merchant, location } = place;
        if mode == ReadMode::Replica && !member.replicas.is_empty() {
            let is_fresh = |fresh_until: Instant| {
                location.is_none_or(|location| location.at <= fresh_until)
                    && [owner.key(), merchant.map(|id| id.0)]
                        .into_iter()
                        .flatten()
                        .all(|key| self.recent_writes.is_before(key, fresh_until))
            };
            if let Some(answer) = Box::pin(member.replicas.read(is_fresh, ask, is_missing)).await {
                return Ok(answer);
            }
        }
        ask(member.primary.reads().clone()).await
    }

    async fn place_of(&self, owner: Owner) -> Result<ReadPlace<'_>, PostgresFault> {
        let anywhere = ReadPlace { member: &self.members[0], merchant: None, location: None };
        let Some(locations) = &self.locations else { return Ok(anywhere) };
        // Boxed, here and below: a router without shards or replicas would carry their futures in each of its own.
        let Some(merchant) = Box::pin(self.merchant_of(locations, owner)).await? else { return Ok(anywhere) };
        let location = Box::pin(locations.locate(&self.members, merchant)).await?;
        let shard = location.map_or_else(|| locations.map.home(merchant), |location| location.shard);
        Ok(ReadPlace { member: &self.members[shard], merchant: Some(merchant), location })
    }

    /// Whether a read at this place was right at some time since it `began`. A place found since then is: if the
    /// merchant was handed over in between, its copy is the state of that moment. A cached one is asked for the
    /// merchant after the read, and forgotten if the merchant has left.
    async fn is_proven(&self, place: &ReadPlace<'_>, began: Instant) -> Result<bool, PostgresFault> {
        match (&self.locations, place.merchant, place.location) {
            (Some(locations), Some(merchant), Some(location)) if location.at < began => {
                Box::pin(locations.confirm(&self.members, merchant, location)).await
            }
            _ => Ok(true),
        }
    }

    pub(super) async fn merchant_of(
        &self,
        locations: &Locations,
        owner: Owner,
    ) -> Result<Option<MerchantId>, PostgresFault> {
        match owner {
            Owner::Merchant(merchant) => Ok(Some(merchant)),
            Owner::Record(record) => locations.owner(&self.members, record).await,
        }
    }

    /// Whether a merchant lives on a member, rather than having left a copy there.
    pub(crate) async fn lives_on(&self, merchant: MerchantId, member: usize) -> Result<bool, PostgresFault> {
        let Some(locations) = &self.locations else { return Ok(true) };
        let location = locations.locate(&self.members, merchant).await?;
        Ok(location.is_some_and(|location| location.shard == member))
    }

    /// An API key, from the primary of its merchant.
    pub(crate) async fn key(&self, hash: KeyHash) -> Result<Option<StoredKey>, PostgresFault> {
        match &self.locations {
            None => Ok(key_with_state(self.first().reads(), hash).await?.map(|(key, _)| key)),
            Some(locations) => Box::pin(locations.key(&self.members, hash)).await,
        }
    }
}

async fn merchants_of(database: Database, ids: Vec<Uuid>) -> Result<Vec<(MerchantId, Uuid)>, PostgresFault> {
    let rows = database.rows(sqlx::query(STORED).bind(ids)).await?;
    rows.iter().map(|row| Ok((row.id("merchant_id", MerchantId)?, get(row, "id")?))).collect()
}

/// The member that a read is for.
struct ReadPlace<'a> {
    member: &'a Member,
    /// `None` where it was not looked for.
    merchant: Option<MerchantId>,
    /// `None` where there is one member, or none that knows the merchant.
    location: Option<Location>,
}
