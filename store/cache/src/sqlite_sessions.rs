//! Sessions in a SQLite file, for one machine.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use base::{
    Ambient,
    error_class::describe,
    sqlite::{Database, OpenError, Query, SqliteError},
    time::later,
};
use sqlx::Row;

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

    /// The statement that writes a session, and the version it writes.
    fn write(
        &self,
        sql: &'static str,
        key: &SessionKey,
        data: &[u8],
        ttl: Duration,
    ) -> (i64, Query<'static>) {
        let mut version = [0; 8];
        self.ambient.fill(&mut version);
        let version = i64::from_le_bytes(version);
        let ends_at = later(self.ambient.now(), ttl).as_millisecond();
        (version, sqlx::query(sql).bind(key.as_str()).bind(data).bind(version).bind(ends_at))
    }

    fn now_ms(&self) -> i64 {
        self.ambient.now().as_millisecond()
    }
}

#[async_trait]
impl Sessions for SqliteSessions {
    async fn put(&self, key: &SessionKey, data: &[u8], ttl: Duration) -> Result<i64, SessionError> {
        check_size(data)?;
        let (version, write) = self.write(PUT, key, data, ttl);
        self.database.run(write).await?;
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
        let sql = if expected.is_some() { PUT_OVER } else { PUT_NEW };
        let (version, write) = self.write(sql, key, data, ttl);
        let write = write.bind(self.now_ms());
        let write = if let Some(expected) = expected { write.bind(expected) } else { write };
        Ok((self.database.run(write).await? == 1).then_some(version))
    }

    async fn get(&self, key: &SessionKey) -> Result<Option<StoredSession>, SessionError> {
        let select = sqlx::query("SELECT data, version FROM sessions WHERE key = ?1 AND ends_at > ?2");
        let row = self.database.row(select.bind(key.as_str()).bind(self.now_ms())).await?;
        Ok(row.map(|row| StoredSession { data: row.get("data"), version: row.get("version") }))
    }

    async fn delete(&self, key: &SessionKey) -> Result<bool, SessionError> {
        let delete = sqlx::query("DELETE FROM sessions WHERE key = ?1 AND ends_at > ?2");
        Ok(self.database.run(delete.bind(key.as_str()).bind(self.now_ms())).await? == 1)
    }

    async fn expire(&self, limit: u32) -> Result<u64, SessionError> {
        let expire = sqlx::query(
            "DELETE FROM sessions WHERE key IN (
               SELECT key FROM sessions WHERE ends_at <= ?1 ORDER BY ends_at LIMIT ?2)",
        );
        Ok(self.database.run(expire.bind(self.now_ms()).bind(limit)).await?)
    }
}

fn migrations() -> sqlx::migrate::Migrator {
    base::migrations!("../../migrations/sqlite/sessions", ["0001_sessions"])
}
