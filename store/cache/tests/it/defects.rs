//! Schemas that are not this release's, and permissions that are missing.

use std::{path::Path, time::Duration};

use base::Ambient;
use cache::{RedisConfig, RedisServer, RedisSessions, SessionError, SessionKey, Sessions, SqliteSessions};
use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};

use crate::util::redis;

async fn alter(file: &Path, statement: &'static str) {
    let mut other = SqliteConnectOptions::new().filename(file).connect().await.expect("connects");
    other.execute(statement).await.expect("alters");
}

fn key() -> SessionKey {
    SessionKey::new("cart", 1)
}

#[tokio::test]
async fn renamed_column_of_sessions_in_sqlite() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("sessions.db");
    let store = SqliteSessions::open(&file, Ambient::system()).await.expect("opens");
    alter(&file, "ALTER TABLE sessions RENAME COLUMN data TO value").await;
    for answer in
        [store.get(&key()).await.map(drop), store.put(&key(), b"1", Duration::from_mins(1)).await.map(drop)]
    {
        assert!(matches!(answer, Err(SessionError::Defect { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn revoked_permission_in_redis() {
    if redis::skipped() {
        return;
    }
    let corner = redis::Corner::create().await;
    let user = redis::User::without("-set").await;
    let config = RedisConfig { url: user.url().into(), ..corner.config() };
    let server = RedisServer::new(&config, Ambient::system()).expect("an address");
    let sessions = RedisSessions::new(server, Ambient::system());
    assert_eq!(sessions.get(&key()).await.expect("reads"), None);
    let written = sessions.put(&key(), b"1", Duration::from_mins(1)).await;
    assert!(matches!(written, Err(SessionError::Defect { .. })), "{written:?}");
    // One command's defect does not make the server unreachable for the others.
    assert_eq!(sessions.get(&key()).await.expect("still reads"), None);
}
