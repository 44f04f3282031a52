//! The sessions that hold the lock of a migration: one per shard, under an advisory lock of the merchant, for the whole
//! migration.
//!
//! Guarantees: one migration of a merchant at a time, over all shards. Every change of where a merchant lives, and of
//! its rows there (`side`), is made by the session that holds the lock, so a process that has lost the lock cannot make
//! changes; and each change is guarded by the state it expects. A statement whose sender has died holds the lock until
//! it ends. A process that dies releases all locks and leaves the states as they are: the next run continues there.

use std::collections::BTreeMap;

use base::{ids::Uuid, postgres::PostgresConfig};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use store::domain::MerchantId;

use super::MoveError;
use crate::{
    fault::PostgresFault,
    fence::{MerchantState, STATE},
    row::get,
};

/// Waits for up to the session's `lock_timeout`.
const LOCK: &str = "SELECT pg_advisory_lock($1)";
const SHUT: &str = "
    UPDATE merchants SET state = 'moving', moved_to = $2
    WHERE id = $1 AND (state = 'active' OR state = 'moving' AND moved_to = $2)";
const WAIT: &str = "SELECT 1 FROM merchants WHERE id = $1 FOR UPDATE";
const SEAL: &str = "UPDATE merchants SET state = 'moving' WHERE id = $1 AND state = 'moving'";
const OPEN: &str =
    "UPDATE merchants SET state = 'active', moved_to = NULL WHERE id = $1 AND state = 'moving'";
const LEAVE: &str =
    "UPDATE merchants SET state = 'moved' WHERE id = $1 AND state = 'moving' AND moved_to = $2";
const TAKE_BACK: &str = "UPDATE merchants SET state = 'active', moved_to = NULL WHERE id = $1 AND state = 'moved' AND moved_to = $2";
const ARRIVE: &str = "UPDATE merchants SET state = 'active' WHERE id = $1 AND state = 'arriving'";
const EXPECT: &str =
    "UPDATE merchants SET state = 'arriving', moved_to = NULL WHERE id = $1 AND state = 'moved'";

/// The state of the merchant on a shard, with the target of its migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stay {
    pub(super) state: MerchantState,
    pub(super) moved_to: Option<String>,
}

/// The advisory lock of a merchant, held on every shard.
pub(super) struct Guard {
    merchant: MerchantId,
    sessions: BTreeMap<String, PgConnection>,
}

impl Guard {
    /// Acquires the lock on all shards in the order of their names, so that two migrations do not deadlock.
    pub(super) async fn take(
        shards: &BTreeMap<String, PostgresConfig>,
        merchant: MerchantId,
    ) -> Result<Self, MoveError> {
        let mut sessions = BTreeMap::new();
        for (name, config) in shards {
            let options = config.direct_options()?.ok_or_else(|| MoveError::Pooled(name.clone()))?;
            let mut session = options.connect().await.map_err(PostgresFault::from)?;
            match sqlx::query(LOCK).bind(lock_of(merchant.0)).execute(&mut session).await {
                Ok(_) => drop(sessions.insert(name.clone(), session)),
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
                    return Err(MoveError::Busy);
                }
                Err(error) => return Err(PostgresFault::from(error).into()),
            }
        }
        Ok(Self { merchant, sessions })
    }

    /// Releases the lock. Dropping the guard does so as well, a moment later.
    pub(super) async fn release(self) {
        for session in self.sessions.into_values() {
            // If closing fails, the server ends the session all the same.
            drop(session.close().await);
        }
    }

    pub(super) async fn stays(&mut self) -> Result<BTreeMap<String, Stay>, MoveError> {
        let mut stays = BTreeMap::new();
        for (name, session) in &mut self.sessions {
            let row = sqlx::query(STATE).bind(self.merchant.0).fetch_optional(session).await;
            if let Some(row) = row.map_err(PostgresFault::from)? {
                let (state, moved_to) = (MerchantState::of(get(&row, "state")?)?, get(&row, "moved_to")?);
                stays.insert(name.clone(), Stay { state, moved_to });
            }
        }
        Ok(stays)
    }

    /// Turns leftovers of an earlier stay on `shard` into a copy to be completed.
    pub(super) async fn expect(&mut self, shard: &str) -> Result<(), MoveError> {
        self.run(shard, EXPECT, None).await.map(drop)
    }

    /// Closes the fence on `shard` and waits for all writes that have passed it; see [`crate::fence`].
    pub(super) async fn shut(&mut self, shard: &str, target: &str) -> Result<(), MoveError> {
        self.must(shard, SHUT, Some(target)).await?;
        let merchant = self.merchant.0;
        let mut unit = self.session(shard)?.begin().await.map_err(PostgresFault::from)?;
        unit.execute(sqlx::query(WAIT).bind(merchant)).await.map_err(PostgresFault::from)?;
        let sealed = unit.execute(sqlx::query(SEAL).bind(merchant)).await.map_err(PostgresFault::from)?;
        unit.commit().await.map_err(PostgresFault::from)?;
        if sealed.rows_affected() == 1 { Ok(()) } else { Err(MoveError::Lost) }
    }

    /// Opens the fence again; true when it was closed.
    pub(super) async fn open(&mut self, shard: &str) -> Result<bool, MoveError> {
        Ok(self.run(shard, OPEN, None).await? > 0)
    }

    /// The merchant lives on `shard` no longer. Until [`Self::arrive`] it lives on no shard.
    pub(super) async fn leave(&mut self, shard: &str, target: &str) -> Result<(), MoveError> {
        self.must(shard, LEAVE, Some(target)).await
    }

    /// Undoes [`Self::leave`] before the merchant has arrived.
    pub(super) async fn take_back(&mut self, shard: &str, target: &str) -> Result<(), MoveError> {
        self.must(shard, TAKE_BACK, Some(target)).await
    }

    /// The merchant lives on `shard` from now on.
    pub(super) async fn arrive(&mut self, shard: &str) -> Result<(), MoveError> {
        self.must(shard, ARRIVE, None).await
    }

    pub(super) fn session(&mut self, shard: &str) -> Result<&mut PgConnection, MoveError> {
        self.sessions.get_mut(shard).ok_or_else(|| MoveError::UnknownShard(shard.to_owned()))
    }

    async fn must(&mut self, shard: &str, sql: &'static str, other: Option<&str>) -> Result<(), MoveError> {
        if self.run(shard, sql, other).await? == 1 { Ok(()) } else { Err(MoveError::Lost) }
    }

    async fn run(&mut self, shard: &str, sql: &'static str, other: Option<&str>) -> Result<u64, MoveError> {
        let query = sqlx::query(sql).bind(self.merchant.0);
        let query = if let Some(other) = other { query.bind(other.to_owned()) } else { query };
        let done = query.execute(self.session(shard)?).await.map_err(PostgresFault::from)?;
        Ok(done.rows_affected())
    }
}

/// The lock number of a merchant. Two merchants that share a number, or another use of it, wait for each other without
/// harm.
fn lock_of(merchant: Uuid) -> i64 {
    let (high, low) = merchant.as_u64_pair();
    (high ^ low).cast_signed()
}
