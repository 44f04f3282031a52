//! A SQLite file with many readers and one writer that commits in groups.
//!
//! Guarantees: WAL with `synchronous=FULL`, so a write that [`Database::write`] has answered survives a kill and a
//! power cut; each unit of work is atomic on its own (if one in a group commit fails, it is rolled back alone); a
//! queued unit runs to its end even when the caller goes away. Does not span files: a transaction touches one database.
//! Other processes may read and write the same file.
//!
//! Why one writer task: SQLite admits one writer at a time anyway. When units queue in front of it instead of on its
//! lock, all waiting units share one `fsync`, which dominates the cost of a commit.

mod fault;

use std::{path::Path, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use sqlx::{
    ConnectOptions, Connection, Executor, Sqlite, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
        SqliteSynchronous,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use crate::ErrorClass;

pub use fault::{SqliteError, WriteFailed, classify};

/// Capacity of the writer's queue; callers wait while it is full.
const QUEUE_MAX: usize = 1024;
/// Units of work per commit at most; bounds how long the first of them waits.
const GROUP_MAX: usize = 128;
/// Longest wait for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before a file that is locked without a wait is opened again.
const LOCKED_PAUSE: Duration = Duration::from_millis(20);

/// A statement with its arguments.
pub type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// An open database file. Clones share the connections.
#[derive(Clone)]
pub struct Database {
    readers: SqlitePool,
    queue: mpsc::Sender<Box<dyn Unit>>,
}

/// The error for a database file that could not be opened.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("cannot open the SQLite file {path}")]
    Open { path: String, source: sqlx::Error },
    #[error("cannot migrate the SQLite file {path}")]
    Migrate { path: String, source: sqlx::migrate::MigrateError },
    #[error("cannot bring the rows of the SQLite file {path} up to date")]
    Rows { path: String, source: SqliteError },
}

/// Connects, again and again while another process makes the new file one with a write-ahead log: SQLite answers that
/// the file is locked at once then, without the wait of [`BUSY_TIMEOUT`] (its `sqlite3_busy_handler`).
async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match options.connect().await {
            Err(error) if classify(&error) == ErrorClass::Busy && Instant::now() < deadline => {
                sleep(LOCKED_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Applies what is missing, all of it or nothing. Under the write lock from its first look: of processes that start
/// together over a new file, the others would find a table that the first one has just created.
async fn migrate(writer: &mut SqliteConnection, migrations: &Migrator) -> Result<(), MigrateError> {
    let mut locked = writer.begin_with("BEGIN IMMEDIATE").await?;
    migrations.run_direct(None, &mut *locked, false).await?;
    Ok(locked.commit().await?)
}

impl Database {
    /// Opens (or creates) the file, applies `migrations`, and starts the writer with `readers_max` readers beside it.
    pub async fn open(path: &Path, migrations: &Migrator, readers_max: u32) -> Result<Self, OpenError> {
        let shown = path.display().to_string();
        let options = options(path);
        let open = |source| OpenError::Open { path: shown.clone(), source };
        let mut writer = connect(&options).await.map_err(open)?;
        migrate(&mut writer, migrations)
            .await
            .map_err(|source| OpenError::Migrate { path: shown.clone(), source })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(readers_max)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(open)?;
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write_loop(writer, waiting));
        Ok(Self { readers, queue })
    }

    /// Connections for reading. Each statement sees a consistent snapshot.
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// All rows of a read.
    pub async fn rows(&self, query: Query<'_>) -> Result<Vec<SqliteRow>, SqliteError> {
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// The first row of a read.
    pub async fn row(&self, query: Query<'_>) -> Result<Option<SqliteRow>, SqliteError> {
        Ok(query.fetch_optional(&self.readers).await?)
    }

    /// Runs one statement as a unit of work; returns the number of rows changed.
    pub async fn run(&self, query: Query<'static>) -> Result<u64, SqliteError> {
        self.write(move |c| Box::pin(async move { Ok(query.execute(c).await?.rows_affected()) })).await
    }

    /// Runs `work` inside a transaction. After `Ok` its changes are durable; after `Err` they are rolled back, or with
    /// [`WriteFailed`] it may be unknown whether they are.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<WriteFailed> + Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let unit = Pending { work: Some(work), result: None, reply };
        self.queue.send(Box::new(unit)).await.map_err(|_| WriteFailed::Closed)?;
        answer.await.map_err(|_| WriteFailed::Closed)?
    }

    /// Closes the readers; the writer stops once every clone is gone.
    pub async fn close(&self) {
        self.readers.close().await;
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(200)
        .pragma("wal_autocheckpoint", "4000")
        .pragma("cache_size", "-4000")
        .disable_statement_logging()
}

/// A unit of work with its types erased: it runs, then replies to the caller once the group's commit is known.
trait Unit: Send {
    /// Runs inside the transaction; `true` keeps the changes.
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> BoxFuture<'a, bool>;
    fn finish(self: Box<Self>, commit: Result<(), WriteFailed>);
}

struct Pending<T, E, F> {
    work: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Unit for Pending<T, E, F>
where
    T: Send,
    E: From<WriteFailed> + Send,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, E>> + Send,
{
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return false };
            let result = std::panic::AssertUnwindSafe(work(connection)).catch_unwind().await;
            let result = result.unwrap_or_else(|_| Err(WriteFailed::Panicked.into()));
            let keep = result.is_ok();
            self.result = Some(result);
            keep
        })
    }

    fn finish(self: Box<Self>, commit: Result<(), WriteFailed>) {
        let result = match (self.result, commit) {
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (_, Err(failed)) => Err(failed.into()),
            (None, Ok(())) => Err(WriteFailed::Closed.into()),
        };
        // The caller may be gone; the changes stand either way.
        drop(self.reply.send(result));
    }
}

async fn write_loop(mut connection: SqliteConnection, mut waiting: mpsc::Receiver<Box<dyn Unit>>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while waiting.recv_many(&mut group, GROUP_MAX).await > 0 {
        let commit = run_group(&mut connection, &mut group).await;
        if let Err(error) = &commit {
            tracing::error!(error = %error, units = group.len(), "sqlite group commit failed");
            // The transaction may or may not have ended; the rollback fails if it has.
            drop(connection.execute("ROLLBACK").await);
        }
        let commit = commit.map_err(|error| WriteFailed::Commit(Arc::new(error)));
        for unit in group.drain(..) {
            unit.finish(commit.clone());
        }
    }
    if let Err(error) = connection.close().await {
        tracing::debug!(error = %error, "closing the SQLite writer failed");
    }
}

async fn run_group(
    connection: &mut SqliteConnection,
    group: &mut [Box<dyn Unit>],
) -> Result<(), sqlx::Error> {
    connection.execute("BEGIN IMMEDIATE").await?;
    if let [only] = group {
        // A single unit needs no savepoint, which saves two statements.
        let keep = only.run(connection).await;
        connection.execute(if keep { "COMMIT" } else { "ROLLBACK" }).await?;
        return Ok(());
    }
    for unit in group {
        connection.execute("SAVEPOINT unit").await?;
        let keep = unit.run(connection).await;
        connection.execute(if keep { "RELEASE unit" } else { "ROLLBACK TO unit; RELEASE unit" }).await?;
    }
    connection.execute("COMMIT").await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum TestError {
        #[error(transparent)]
        Write(#[from] WriteFailed),
        #[error(transparent)]
        Sql(#[from] sqlx::Error),
        #[error("refused")]
        Refused,
    }

    async fn open() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let none = Migrator::DEFAULT;
        let database = Database::open(&folder.path().join("t.db"), &none, 2).await.expect("opens");
        let created: Result<(), TestError> = database
            .write(|c| {
                Box::pin(async move {
                    c.execute("CREATE TABLE t (v INTEGER PRIMARY KEY)").await?;
                    Ok(())
                })
            })
            .await;
        created.expect("creates");
        (folder, database)
    }

    async fn insert(database: &Database, value: i64, refuse: bool) -> Result<(), TestError> {
        database
            .write(move |c| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO t VALUES (?)").bind(value).execute(c).await?;
                    if refuse { Err(TestError::Refused) } else { Ok(()) }
                })
            })
            .await
    }

    #[tokio::test]
    async fn a_failing_unit_leaves_no_trace_and_its_neighbours_stay() {
        let (_folder, database) = open().await;
        let units = (0..100).map(|value| insert(&database, value, value % 3 == 0));
        let results = futures::future::join_all(units).await;
        assert_eq!(results.iter().filter(|r| r.is_err()).count(), 34);
        let kept: i64 =
            sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(database.readers()).await.expect("counts");
        assert_eq!(kept, 66);
    }

    #[tokio::test]
    async fn a_panicking_unit_is_an_error_and_the_writer_lives_on() {
        let (_folder, database) = open().await;
        let result: Result<(), TestError> =
            database.write(|_| Box::pin(async { panic!("a unit of work that panics on purpose") })).await;
        assert!(matches!(result, Err(TestError::Write(WriteFailed::Panicked))));
        insert(&database, 1, false).await.expect("the writer still works");
    }

    #[tokio::test]
    async fn work_handed_over_is_finished_although_its_caller_left() {
        let (_folder, database) = open().await;
        // Polled once, so that the unit is in the queue, then dropped.
        assert!(insert(&database, 5, false).now_or_never().is_none());
        insert(&database, 6, false).await.expect("inserts");
        let kept: i64 =
            sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(database.readers()).await.expect("counts");
        assert_eq!(kept, 2);
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named() {
        let error = Database::open(Path::new("/nonexistent/x.db"), &Migrator::DEFAULT, 1).await.err();
        assert!(error.expect("fails").to_string().contains("/nonexistent/x.db"));
    }
}
