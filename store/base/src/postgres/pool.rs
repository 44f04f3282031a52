//! Connections kept between units of work.
//!
//! Guarantees: a bounded number of them; every wait has an end; whoever takes one finds its session in order. A
//! transaction that was not brought to an end, or a statement dropped half way, is ended before its connection is used
//! again, or the connection is let go.
//!
//! Not sqlx's pool: it asks the server for a sign of life after every use, which is one of five round trips of placing
//! an order and a task besides. Here only a connection that was idle for a while, or left in an unknown state, is asked.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use deadpool::{
    Runtime,
    managed::{Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts},
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tokio::{runtime::Handle, time::timeout};

use super::{OpenError, PostgresConfig};

/// A connection unused for this long is tried before it is handed out: the server may have gone meanwhile.
const PING_AFTER: Duration = Duration::from_secs(1);
/// A connection older than this makes room for a new one: a server's session grows with what it has seen.
const AGE_MAX: Duration = Duration::from_mins(30);
/// How long a connection left in an unknown state may take to come back to order.
const TIDY_MAX: Duration = Duration::from_secs(10);

/// The connections to a server. Clones share them.
#[derive(Clone)]
pub(super) struct Connections(Pool<Connector>);

impl Connections {
    /// Connects to nothing yet.
    pub(super) fn new(config: &PostgresConfig) -> Result<Self, OpenError> {
        let pool = Pool::builder(Connector(config.pool_options()?))
            .max_size(usize::try_from(config.pool_max).unwrap_or(usize::MAX).max(1))
            .timeouts(Timeouts {
                wait: Some(config.acquire_timeout),
                create: Some(config.acquire_timeout),
                recycle: Some(config.acquire_timeout),
            })
            .runtime(Runtime::Tokio1)
            // The most recently used one: it needs no trial, and what is not needed ages.
            .queue_mode(QueueMode::Lifo)
            .build();
        // It fails only for timeouts without a runtime.
        Ok(Self(pool.map_err(|error| OpenError::Connect(sqlx::Error::Configuration(error.into())))?))
    }

    pub(super) async fn lend(&self) -> Result<Loan, sqlx::Error> {
        let connection = self.0.get().await.map_err(error_of)?;
        Ok(Loan { connection: Some(connection), state: SessionState::Unknown })
    }

    pub(super) fn close(&self) {
        self.0.close();
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connections").field(&self.0.status()).finish()
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

/// In what state a session may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionState {
    /// As it was when it was lent.
    InOrder,
    /// A statement may be under way.
    Unknown,
    /// In a transaction, or on the way into or out of one.
    Transaction,
}

/// A connection on loan.
pub(super) struct Loan {
    /// Until it is given back.
    connection: Option<Object<Connector>>,
    state: SessionState,
}

impl Deref for Loan {
    type Target = PgConnection;

    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("lent until it is dropped")
    }
}

impl DerefMut for Loan {
    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("lent until it is dropped")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match (self.state, Handle::try_current()) {
            (SessionState::InOrder, _) => drop(connection),
            (state, Ok(runtime)) => drop(runtime.spawn(tidy(connection, state))),
            (_, Err(_)) => drop(Object::take(connection)),
        }
    }
}

/// Brings a session back to order, or lets its connection go.
async fn tidy(mut connection: Object<Connector>, state: SessionState) {
    let in_order = timeout(TIDY_MAX, async {
        match state {
            SessionState::Transaction => connection.execute(sqlx::raw_sql("ROLLBACK")).await.map(drop),
            // Waits until the server is done with what was under way.
            SessionState::Unknown | SessionState::InOrder => connection.ping().await,
        }
    });
    if !matches!(in_order.await, Ok(Ok(()))) {
        drop(Object::take(connection));
    }
}

/// A transaction (READ COMMITTED). Dropped, it is rolled back.
pub struct Transaction {
    loan: Loan,
}

impl Transaction {
    pub(super) async fn begin(loan: Loan, begin: Option<&str>) -> Result<Self, sqlx::Error> {
        let mut transaction = Self { loan };
        transaction.loan.state = SessionState::Transaction;
        transaction.say(begin.unwrap_or("BEGIN")).await?;
        Ok(transaction)
    }

    /// Makes it last. After an error it is unknown whether it does.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.say("COMMIT").await?;
        self.loan.state = SessionState::InOrder;
        Ok(())
    }

    /// Undoes it.
    pub async fn rollback(mut self) -> Result<(), sqlx::Error> {
        self.say("ROLLBACK").await?;
        self.loan.state = SessionState::InOrder;
        Ok(())
    }

    /// By the simple protocol, so that nothing is prepared.
    async fn say(&mut self, statement: &str) -> Result<(), sqlx::Error> {
        self.loan.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.map(drop)
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.loan
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.loan
    }
}

/// A connection for one statement, see [`super::Database::session`].
pub enum PooledSession {
    /// Each statement commits by itself.
    Plain(Plain),
    /// Commits with [`Session::done`].
    Transaction(Transaction),
}

/// A connection without a transaction.
pub struct Plain(Loan);

impl PooledSession {
    pub(super) fn plain(loan: Loan) -> Self {
        Self::Plain(Plain(loan))
    }

    /// Makes a write last, and says that the session is in order: dropped, it is tried before its next use.
    pub async fn done(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Plain(Plain(mut loan)) => {
                loan.state = SessionState::InOrder;
                Ok(())
            }
            Self::Transaction(transaction) => transaction.commit().await,
        }
    }
}

impl Deref for PooledSession {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Plain(Plain(loan)) => loan,
            Self::Transaction(transaction) => transaction,
        }
    }
}

impl DerefMut for PooledSession {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Plain(Plain(loan)) => loan,
            Self::Transaction(transaction) => transaction,
        }
    }
}
