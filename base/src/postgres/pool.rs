//! The connection pool of a PostgreSQL server.
//!
//! Guarantees: a bounded number of connections; every wait is bounded; a lent session is in order. A transaction that
//! was neither committed nor rolled back, or a statement whose future was dropped, is ended before its connection is
//! used again, or the connection is closed.
//!
//! sqlx's pool is not used: it pings the server after every use, which costs one of the five round trips of placing an
//! order, and a task. Here only a connection that was idle for a while, or left in an unknown state, is pinged.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool::{
    Runtime,
    managed::{Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts},
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tokio::{runtime::Handle, time::timeout};

use super::{config::PostgresConfig, error::OpenError};
use crate::{DurationHistogram, DurationSnapshot};

/// A connection idle for longer is pinged before reuse: the server may be gone.
const PING_AFTER: Duration = Duration::from_secs(1);
/// An older connection is replaced: a server's session grows with its use.
const AGE_MAX: Duration = Duration::from_mins(30);
/// Longest time in which a connection left in an unknown state is brought back in order.
const TIDY_MAX: Duration = Duration::from_secs(10);

/// Upper bounds of the waits for a connection; the longest wait is the time-out of the pool.
const WAITS: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
];

#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool<Connector>,
    waits: Arc<DurationHistogram>,
}

/// What a pool does, for metrics; clones show the same pool.
#[derive(Debug, Clone)]
pub struct PoolView(Connections);

/// The connections of a pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// Connections at most.
    pub max: u64,
    /// Open connections that are not lent.
    pub idle: u64,
    /// Open connections that are lent.
    pub busy: u64,
    /// Callers that wait for a connection.
    pub waiting: u64,
}

impl PoolView {
    pub(super) fn of(connections: &Connections) -> Self {
        Self(connections.clone())
    }

    /// The connections now.
    pub fn state(&self) -> PoolState {
        let status = self.0.pool.status();
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        PoolState {
            max: number(status.max_size),
            idle: number(status.available),
            busy: number(status.size.saturating_sub(status.available)),
            waiting: number(status.waiting),
        }
    }

    /// How long callers waited for a connection, its opening or its test included, and those without success.
    pub fn waits(&self) -> DurationSnapshot {
        self.0.waits.snapshot()
    }
}

impl Connections {
    /// A pool without connections; the first use connects.
    pub(super) fn new(config: &PostgresConfig) -> Result<Self, OpenError> {
        let pool = Pool::builder(Connector(config.pool_options()?))
            .max_size(usize::try_from(config.pool_max).unwrap_or(usize::MAX).max(1))
            .timeouts(Timeouts {
                wait: Some(config.acquire_timeout),
                create: Some(config.acquire_timeout),
                recycle: Some(config.acquire_timeout),
            })
            .runtime(Runtime::Tokio1)
            // The most recently used connection needs no ping, and the others age.
            .queue_mode(QueueMode::Lifo)
            .build();
        // `build` fails only for timeouts without a runtime.
        let pool = pool.map_err(|error| OpenError::Connect(sqlx::Error::Configuration(error.into())))?;
        Ok(Self { pool, waits: Arc::new(DurationHistogram::new(WAITS)) })
    }

    pub(super) async fn lend(&self) -> Result<PooledSession, sqlx::Error> {
        let began = Instant::now();
        let connection = self.pool.get().await;
        self.waits.observe(began.elapsed());
        let connection = connection.map_err(error_of)?;
        Ok(PooledSession { connection: Some(connection), state: SessionState::Unknown })
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connections").field(&self.pool.status()).finish()
    }
}

fn error_of(error: PoolError<sqlx::Error>) -> sqlx::Error {
    match error {
        PoolError::Backend(error) => error,
        PoolError::Closed => sqlx::Error::PoolClosed,
        PoolError::Timeout(_) | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            sqlx::Error::PoolTimedOut
        }
    }
}

struct Connector(PgConnectOptions);

impl Manager for Connector {
    type Type = PgConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        self.0.connect().await
    }

    async fn recycle(&self, connection: &mut PgConnection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.age() > AGE_MAX {
            return Err(RecycleError::message("old"));
        }
        if metrics.last_used() > PING_AFTER {
            connection.ping().await?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionState {
    /// As it was lent: no transaction, no statement in flight.
    InOrder,
    /// A statement may be in flight.
    Unknown,
    /// In a transaction, or while one begins or ends.
    Transaction,
}

/// A connection on loan for one statement, see [`super::Database::session`].
pub struct PooledSession {
    /// `None` once the connection is returned.
    connection: Option<Object<Connector>>,
    state: SessionState,
}

impl PooledSession {
    /// Commits where the statement is in a transaction, and marks the session as in order; a session that is only
    /// dropped is pinged or rolled back before its next use.
    pub async fn done(mut self) -> Result<(), sqlx::Error> {
        if self.state == SessionState::Transaction {
            return self.end("COMMIT").await;
        }
        self.state = SessionState::InOrder;
        Ok(())
    }

    async fn end(mut self, statement: &str) -> Result<(), sqlx::Error> {
        self.say(statement).await?;
        self.state = SessionState::InOrder;
        Ok(())
    }

    /// Runs a statement by the simple protocol, which prepares nothing.
    async fn say(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        self.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.map(drop)
    }
}

impl Deref for PooledSession {
    type Target = PgConnection;

    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("lent until it is dropped")
    }
}

impl DerefMut for PooledSession {
    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("lent until it is dropped")
    }
}

impl Drop for PooledSession {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match (self.state, Handle::try_current()) {
            (SessionState::InOrder, _) => drop(connection),
            (state, Ok(runtime)) => drop(runtime.spawn(tidy(connection, state))),
            (_, Err(_)) => drop(Object::take(connection)),
        }
    }
}

/// Brings a session back in order, or closes its connection.
async fn tidy(mut connection: Object<Connector>, state: SessionState) {
    let in_order = timeout(TIDY_MAX, async {
        match state {
            SessionState::Transaction => connection.execute(sqlx::raw_sql("ROLLBACK")).await.map(drop),
            // Waits until the server has finished the statement in flight.
            SessionState::Unknown | SessionState::InOrder => connection.ping().await,
        }
    });
    if !matches!(in_order.await, Ok(Ok(()))) {
        drop(Object::take(connection));
    }
}

/// A transaction (READ COMMITTED). Dropping it rolls back.
pub struct Transaction(pub(super) PooledSession);

impl Transaction {
    pub(super) async fn begin(mut session: PooledSession, begin: Option<&str>) -> Result<Self, sqlx::Error> {
        session.state = SessionState::Transaction;
        session.say(begin.unwrap_or("BEGIN")).await?;
        Ok(Self(session))
    }

    /// Commits. After an error it is unknown whether the commit took effect.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.end("COMMIT").await
    }

    /// Rolls back.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.0.end("ROLLBACK").await
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
