//! Routing of calls to databases: the owner and the read mode of a call determine the database that answers it.
//!
//! A router has one member for each database that the merchants are shared among, usually a single one; a member is a
//! primary with any number of streaming replicas. So one database, one with replicas, shards, and shards with replicas
//! are the same thing, each server with or without a pooler before it. The methods of the contracts name an [`Owner`]
//! and are written once:
//!
//! - [`Router::write`] and [`Router::run`] change a merchant's data on its primary,
//! - [`Router::row`], [`Router::rows`] and [`Router::read`] read it, from a replica where [`ReadMode`] admits one,
//! - [`Router::members`], [`Router::pages`] and [`Router::in_turn`] are for calls about all merchants. With shards,
//!   such a call also sees copies of merchants that are being or have been migrated: it acts on the shard of a record's
//!   merchant, or only where a copy may be treated alike.
//!
//! Guarantees, with several members (shards): all data of a merchant is in one of them. The merchant's row
//! (`merchants.state`) says which; the [`ShardMap`] only says where a new one is created and which shard is asked
//! first. A found location is cached for at most [`LOCATED_FOR`], and neither a write nor a decision relies on it: each
//! write passes the fence of its database (`postgres::fence`) inside its transaction; a read on which a decision
//! depends, and any read that finds nothing, is confirmed by the merchant's row afterwards. If the merchant was
//! migrated, both are repeated on the right shard. An unavailable shard affects its own merchants only. Messages of one
//! subject keep their order, as all of them are in one database; so they do in a migration, which hands over only after
//! all messages are sent. Not promised is that what a *display* finds is newer than [`LOCATED_FOR`] for a merchant just
//! migrated.
//!
//! Guarantees, with replicas: every read on which a decision depends goes to the primary. Another goes to a replica
//! only while its lag is within the limit, and the replica has every write for that owner that *this process* answered
//! before the read began (read your writes), and, with shards, the state in which the merchant was found there. Across
//! processes only the limit is promised: a read may miss another process's write for that long.
//!
//! Read on in `locations`, the shard of a merchant; `replicas`, the choice of a replica; `claims`, relays over shards.
//! `docs/SHARDING.md` and `docs/POSTGRES.md` are for operators.

mod claims;
mod config;
mod fan_out;
mod locations;
mod member;
mod open;
mod owner;
mod pause;
mod probe;
mod read_your_writes;
mod reads;
mod replicas;
mod shard_map;
mod writes;

pub use config::{DatabaseConfig, LOCATED_FOR, ShardingConfig, ShardsError};
pub use replicas::ReadStats;
pub use shard_map::{MapError, SHARDS_MAX, ShardMap};

use tokio::time::Instant;

use self::{claims::ClaimRotation, locations::Locations, read_your_writes::RecentWrites};
use super::database::OrderDatabase;

pub(super) use locations::OWNER;
pub(super) use member::Member;
pub(super) use owner::{Owner, RecordIds};

/// The servers that may answer a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadMode {
    /// The primary only: a decision depends on the answer, or its reader was told of a change.
    Primary,
    /// Also a replica that has the owner's writes.
    Replica,
}

/// The databases of an order store.
pub(super) struct Router {
    /// At least one; shards in the order of the map's names.
    members: Vec<Member>,
    /// `None` where one database has all merchants.
    locations: Option<Locations>,
    has_replicas: bool,
    recent_writes: RecentWrites,
    claims: ClaimRotation,
}

impl Router {
    /// All members, in the order of the map's names.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The primary for what belongs to no merchant.
    pub(super) fn first(&self) -> &OrderDatabase {
        &self.members[0].primary
    }

    /// The time until which all replicas are complete; `None` when that of one is unknown.
    pub(super) fn fresh_until(&self) -> Option<Instant> {
        let with_replicas = self.members.iter().filter(|member| !member.replicas.is_empty());
        let times: Option<Vec<_>> = with_replicas.map(|member| member.replicas.fresh_until()).collect();
        times?.into_iter().min()
    }

    pub(super) fn read_stats(&self) -> ReadStats {
        let mut stats = ReadStats::default();
        for member in &self.members {
            member.replicas.add_to(&mut stats);
        }
        stats
    }

    pub(super) fn is_sharded(&self) -> bool {
        self.locations.is_some()
    }
}
