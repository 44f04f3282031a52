//! A member of the router: a primary with its replicas.

use super::{pause::ShardPause, replicas::ReplicaSet};
use crate::database::OrderDatabase;

/// A primary, with its replicas where it has any.
pub(crate) struct Member {
    /// Name of the shard; empty for the only database.
    pub(crate) name: String,
    pub(crate) primary: OrderDatabase,
    pub(super) replicas: ReplicaSet,
    pub(super) pause: ShardPause,
}

impl Member {
    /// A table of this member as operators know it.
    pub(crate) fn table(&self, name: String) -> String {
        if self.name.is_empty() { name } else { format!("{}/{name}", self.name) }
    }
}
