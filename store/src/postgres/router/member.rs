//! A member of the router: a primary with its replicas.

use super::{pause::ShardPause, replicas::ReplicaSet};
use crate::postgres::database::OrderDatabase;

/// A primary, with its replicas where it has any.
pub(in crate::postgres) struct Member {
    /// Name of the shard; empty for the only database.
    pub(in crate::postgres) name: String,
    pub(in crate::postgres) primary: OrderDatabase,
    pub(super) replicas: ReplicaSet,
    pub(super) pause: ShardPause,
}

impl Member {
    /// A table of this member as operators know it.
    pub(in crate::postgres) fn table(&self, name: String) -> String {
        if self.name.is_empty() { name } else { format!("{}/{name}", self.name) }
    }
}
