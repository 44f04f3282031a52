//! Opening of the databases of a router.

use std::collections::BTreeMap;

use base::{Ambient, postgres::OpenError};
use tokio::sync::watch;

use super::{
    Router,
    claims::ClaimRotation,
    config::{DatabaseConfig, ShardingConfig, ShardsError},
    locations::Locations,
    member::Member,
    pause::ShardPause,
    read_your_writes::RecentWrites,
    replicas::ReplicaSet,
    shard_map::ShardMap,
};
use crate::database::OrderDatabase;

impl Router {
    pub(crate) async fn over(config: &DatabaseConfig, ambient: &Ambient) -> Result<Self, OpenError> {
        Ok(Self::new(vec![open(0, String::new(), config, ambient, &watch::Sender::default()).await?], None))
    }

    pub(crate) async fn over_shards(
        shards: BTreeMap<String, DatabaseConfig>,
        sharding: ShardingConfig,
        ambient: &Ambient,
    ) -> Result<Self, ShardsError> {
        let map = ShardMap::new(shards.keys().cloned(), &sharding.pins)?;
        let (mut members, arrivals) = (Vec::with_capacity(shards.len()), watch::Sender::default());
        for (number, (shard, config)) in (0..).zip(shards) {
            let opened = open(number, shard.clone(), &config, ambient, &arrivals).await;
            members.push(opened.map_err(|source| ShardsError::Open { shard, source })?);
        }
        Ok(Self::new(members, Some(Locations::new(map, sharding.located_for))))
    }

    fn new(members: Vec<Member>, locations: Option<Locations>) -> Self {
        let has_replicas = members.iter().any(|member| !member.replicas.is_empty());
        Self {
            members,
            locations,
            has_replicas,
            recent_writes: RecentWrites::default(),
            claims: ClaimRotation::default(),
        }
    }
}

/// `arrivals` is common to all members.
async fn open(
    number: u16,
    name: String,
    config: &DatabaseConfig,
    ambient: &Ambient,
    arrivals: &watch::Sender<u64>,
) -> Result<Member, OpenError> {
    let replicas = ReplicaSet::follow(config, ambient)?;
    let primary = OrderDatabase::connect(number, &config.primary, ambient.clone(), arrivals.clone()).await?;
    Ok(Member { name, primary, replicas, pause: ShardPause::default() })
}
