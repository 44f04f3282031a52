//! The sessions that decide: one per shard, under a lock of the merchant, for as long as a move lasts.
//!
//! Guarantees: one move of a merchant at a time, over all shards; every change of where a merchant lives, and of its rows
//! there (`side`), is made by the session that holds the lock, so who has lost the one cannot make the other; and each is
//! guarded by the state it expects. A statement whose sender has died holds the lock until it has ended.
//! A process that dies lets go of everything and leaves the states as they are: whoever runs the move again goes on there.

use std::collections::BTreeMap;

use base::{ids::Uuid, postgres::PostgresConfig};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

use super::MoveError;
use crate::{
    domain::MerchantId,
    postgres::{
        fault::PostgresFault,
        fence::{MerchantState, STATE},
        row::get,
    },
};

/// Waits as long as `lock_timeout` of the session allows.
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

/// What a shard says of the merchant, with where it is moving or has moved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stay {
    pub(super) state: MerchantState,
    pub(super) moved_to: Option<String>,
}

/// The lock, on every shard.
pub(super) struct Guard {
    merchant: MerchantId,
    sessions: BTreeMap<String, PgConnection>,
}

impl Guard {
    /// Takes the lock on all shards in the order of their names, so that two moves never wait for each other in a circle.
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

    /// Lets go. So does dropping it, a moment later.
    pub(super) async fn release(self) {
        for session in self.sessions.into_values() {
            // Whatever goes wrong in saying good-bye, the server ends the session.
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

    /// Makes leftovers of an earlier stay on `shard` into a copy to be completed.
    pub(super) async fn expect(&mut self, shard: &str) -> Result<(), MoveError> {
        self.run(shard, EXPECT, None).await.map(drop)
    }

    /// Shuts the fence on `shard` and waits for all writes that have passed it; see [`crate::postgres::fence`].
    pub(super) async fn shut(&mut self, shard: &str, target: &str) -> Result<(), MoveError> {
        self.must(shard, SHUT, Some(target)).await?;
        let merchant = self.merchant.0;
        let mut unit = self.session(shard)?.begin().await.map_err(PostgresFault::from)?;
        unit.execute(sqlx::query(WAIT).bind(merchant)).await.map_err(PostgresFault::from)?;
        let sealed = unit.execute(sqlx::query(SEAL).bind(merchant)).await.map_err(PostgresFault::from)?;
        unit.commit().await.map_err(PostgresFault::from)?;
        if sealed.rows_affected() == 1 { Ok(()) } else { Err(MoveError::Lost) }
    }

    /// Opens the fence again; true when it was shut.
    pub(super) async fn open(&mut self, shard: &str) -> Result<bool, MoveError> {
        Ok(self.run(shard, OPEN, None).await? > 0)
    }

    /// The merchant no longer lives on `shard`. From here to [`Self::arrive`] it lives nowhere.
    pub(super) async fn leave(&mut self, shard: &str, target: &str) -> Result<(), MoveError> {
        self.must(shard, LEAVE, Some(target)).await
    }

    /// Undoes [`Self::leave`], before the merchant has arrived.
    pub(super) async fn take_back(&mut self, shard: &str, target: &str) -> Result<(), MoveError> {
        self.must(shard, TAKE_BACK, Some(target)).await
    }

    /// The merchant lives on `shard`.
    pub(super) async fn arrive(&mut self, shard: &str) -> Result<(), MoveError> {
        self.must(shard, ARRIVE, None).await
    }

    /// The session on `shard`.
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

/// One number per merchant. Two that share one, or a lock of something else, wait for each other without harm.
fn lock_of(merchant: Uuid) -> i64 {
    let (high, low) = merchant.as_u64_pair();
    (high ^ low).cast_signed()
}
