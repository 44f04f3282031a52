//! Sessions in a SQLite file, for one machine.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use base::{
    Ambient,
    error_class::describe,
    sqlite::{Database, OpenError, SqliteError},
    time::later,
};
use futures::future::BoxFuture;
use sqlx::{Row, SqliteConnection};

use super::{SessionError, SessionKey, Sessions, StoredSession, sessions::check_size};

/// Connections for reading beside the one writer.
const READERS_MAX: u32 = 3;

const PUT: &str = "
    INSERT INTO sessions (key, data, version, ends_at) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (key) DO UPDATE SET data = ?2, version = ?3, ends_at = ?4";
const PUT_NEW: &str = "
    INSERT INTO sessions (key, data, version, ends_at) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (key) DO UPDATE SET data = ?2, version = ?3, ends_at = ?4 WHERE ends_at <= ?5";
const PUT_OVER: &str = "UPDATE sessions SET data = ?2, version = ?3, ends_at = ?4 WHERE key = ?1 AND ends_at > ?5 AND version = ?6";

/// [`Sessions`] in a file. Clones share it.
#[derive(Clone)]
pub struct SqliteSessions {
    database: Database,
    ambient: Ambient,
}

impl From<SqliteError> for SessionError {
    fn from(error: SqliteError) -> Self {
        let detail = describe(&error);
        if error.error_class().is_transient() {
            Self::Unavailable { detail, since: None }
        } else {
            Self::Defect { detail }
        }
    }
}

impl SqliteSessions {
    /// Opens or creates the file. Must be called within a tokio runtime.
    pub async fn open(path: &Path, ambient: Ambient) -> Result<Self, OpenError> {
        Ok(Self { database: Database::open(path, &migrations(), READERS_MAX).await?, ambient })
    }

    /// Closes the connections for reading; later calls return an error.
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn write<T, F>(&self, work: F) -> Result<T, SessionError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, SqliteError>> + Send + 'static,
    {
        Ok(self.database.write(work).await?)
    }

    async fn execute(
        &self,
        sql: &'static str,
        (key, data, version, ends_at): (String, Vec<u8>, i64, i64),
        guards: Vec<i64>,
    ) -> Result<bool, SessionError> {
        self.write(move |c| {
            Box::pin(async move {
                let write = sqlx::query(sql).bind(key).bind(data).bind(version).bind(ends_at);
                let write = guards.into_iter().fold(write, sqlx::query::Query::bind);
                Ok(write.execute(c).await?.rows_affected() == 1)
            })
        })
        .await
    }

    fn draw_version(&self) -> i64 {
        let mut bytes = [0; 8];
        self.ambient.fill(&mut bytes);
        i64::from_le_bytes(bytes)
    }

    fn ends_at(&self, ttl: Duration) -> i64 {
        later(self.ambient.now(), ttl).as_millisecond()
    }
}

#[async_trait]
impl Sessions for SqliteSessions {
    async fn put(&self, key: &SessionKey, data: &[u8], ttl: Duration) -> Result<i64, SessionError> {
        check_size(data)?;
        let version = self.draw_version();
        let row = (key.as_str().to_owned(), data.to_vec(), version, self.ends_at(ttl));
        self.execute(PUT, row, Vec::new()).await?;
        Ok(version)
    }

    async fn replace(
        &self,
        key: &SessionKey,
        expected: Option<i64>,
        data: &[u8],
        ttl: Duration,
    ) -> Result<Option<i64>, SessionError> {
        check_size(data)?;
        let version = self.draw_version();
        let row = (key.as_str().to_owned(), data.to_vec(), version, self.ends_at(ttl));
        let sql = if expected.is_some() { PUT_OVER } else { PUT_NEW };
        let guards = [self.ambient.now().as_millisecond()].into_iter().chain(expected).collect();
        let done = self.execute(sql, row, guards).await?;
        Ok(done.then_some(version))
    }

    async fn get(&self, key: &SessionKey) -> Result<Option<StoredSession>, SessionError> {
        let select = sqlx::query("SELECT data, version FROM sessions WHERE key = ?1 AND ends_at > ?2");
        let select = select.bind(key.as_str()).bind(self.ambient.now().as_millisecond());
        let row = select.fetch_optional(self.database.readers()).await.map_err(SqliteError::from)?;
        Ok(row.map(|row| StoredSession { data: row.get("data"), version: row.get("version") }))
    }

    async fn touch(&self, key: &SessionKey, ttl: Duration) -> Result<bool, SessionError> {
        let (key, ends_at, now) =
            (key.as_str().to_owned(), self.ends_at(ttl), self.ambient.now().as_millisecond());
        self.write(move |c| {
            Box::pin(async move {
                let touch = sqlx::query("UPDATE sessions SET ends_at = ?2 WHERE key = ?1 AND ends_at > ?3");
                Ok(touch.bind(key).bind(ends_at).bind(now).execute(c).await?.rows_affected() == 1)
            })
        })
        .await
    }

    async fn delete(&self, key: &SessionKey) -> Result<bool, SessionError> {
        let (key, now) = (key.as_str().to_owned(), self.ambient.now().as_millisecond());
        self.write(move |c| {
            Box::pin(async move {
                let delete = sqlx::query("DELETE FROM sessions WHERE key = ?1 RETURNING ends_at");
                let row = delete.bind(key).fetch_optional(c).await?;
                Ok(row.is_some_and(|row| row.get::<i64, _>("ends_at") > now))
            })
        })
        .await
    }

    async fn expire(&self, limit: u32) -> Result<u64, SessionError> {
        let now = self.ambient.now().as_millisecond();
        self.write(move |c| {
            Box::pin(async move {
                let expire = sqlx::query(
                    "DELETE FROM sessions WHERE key IN (
                       SELECT key FROM sessions WHERE ends_at <= ?1 ORDER BY ends_at LIMIT ?2)",
                );
                Ok(expire.bind(now).bind(limit).execute(c).await?.rows_affected())
            })
        })
        .await
    }
}

fn migrations() -> sqlx::migrate::Migrator {
    base::migrations!("../../migrations/sqlite/sessions", ["0001_sessions"])
}
