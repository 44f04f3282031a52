//! Notification of relays: LISTEN on a dedicated connection, NOTIFY after the commit.
//!
//! Guarantees: an announcement reaches relays of this process at once, and relays of other processes within
//! [`NOTIFY_EVERY`] and a round trip while both have a connection. A lost connection is replaced, and its relays are
//! then woken for notifications they may have missed. A process that dies between its commit and its NOTIFY wakes no
//! relay: polling covers that.
//!
//! NOTIFY is not part of the placing transaction: a commit with a notification holds a server-wide lock until its write
//! to disk is done, so such commits cannot share a flush. `docs/POSTGRES.md` has the measurements.

use std::{convert::Infallible, sync::OnceLock, time::Duration};

use base::{Ambient, postgres::Database};
use sqlx::{
    Executor, PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{sync::watch, task::AbortHandle, time::timeout};

use super::fault::{PostgresFault, Result};

/// The channel, in this database: the server keeps the channels of databases apart.
const CHANNEL: &str = "orderworks_outbox";
const NOTIFY: &str = "SELECT pg_notify('orderworks_outbox', '')";
/// Interval of NOTIFY at most; one stands for all messages announced during it.
const NOTIFY_EVERY: Duration = Duration::from_millis(5);
/// After this silence the connection is checked by a query.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest wait for the answer to that query, and for a connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause before connecting again.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Sends and receives notifications. Its tasks end with it.
pub(super) struct Wake {
    arrivals: watch::Sender<u64>,
    committed: watch::Sender<()>,
    listen: Option<PgConnectOptions>,
    ambient: Ambient,
    listener: OnceLock<AbortHandle>,
    notifier: AbortHandle,
}

impl Wake {
    /// Notifies over `database`; listens with `listen`, once a relay subscribes to arrivals.
    pub(super) fn start(
        database: Database,
        listen: Option<PgConnectOptions>,
        ambient: Ambient,
        arrivals: watch::Sender<u64>,
    ) -> Self {
        let committed = watch::Sender::new(());
        let notifier = tokio::spawn(notify(database, committed.subscribe())).abort_handle();
        Self { arrivals, committed, listen, ambient, listener: OnceLock::new(), notifier }
    }

    /// Notifies relays, in this and other processes, that messages were committed. Does not wait.
    pub(super) fn notify(&self) {
        bump(&self.arrivals);
        self.committed.send_replace(());
    }

    /// Changes whenever messages may have arrived.
    pub(super) fn arrivals(&self) -> watch::Receiver<u64> {
        if let Some(options) = &self.listen {
            self.listener.get_or_init(|| {
                let listening = listen(options.clone(), self.arrivals.clone(), self.ambient.clone());
                tokio::spawn(listening).abort_handle()
            });
        }
        self.arrivals.subscribe()
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.notifier.abort();
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }
}

/// Wakes the relays of this process.
fn bump(arrivals: &watch::Sender<u64>) {
    arrivals.send_modify(|arrivals| *arrivals = arrivals.wrapping_add(1));
}

/// Sends one NOTIFY for all commits of an interval. The next user of the pool reports a lasting failure.
async fn notify(database: Database, mut committed: watch::Receiver<()>) {
    while committed.changed().await.is_ok() {
        // One statement without a session: works behind a pooler.
        if let Err(error) = database.say(NOTIFY).await {
            tracing::debug!(error = %error, "outbox notification failed");
        }
        tokio::time::sleep(NOTIFY_EVERY).await;
    }
}

/// Listens until its task is aborted.
async fn listen(options: PgConnectOptions, arrivals: watch::Sender<u64>, ambient: Ambient) {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ANSWER_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_lazy_with(options);
    let mut failures = 0;
    loop {
        let error = match session(&pool, &arrivals, &mut failures).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        failures += 1;
        if failures == 1 {
            tracing::warn!(error = %error, "outbox listener connection lost");
        }
        let longest = PAUSE_MAX.min(PAUSE * 2_u32.saturating_pow(failures - 1));
        tokio::time::sleep(longest / 2 + ambient.jitter(longest / 2)).await;
    }
}

/// Listens until the connection is lost.
async fn session(pool: &PgPool, arrivals: &watch::Sender<u64>, failures: &mut u32) -> Result<Infallible> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    if std::mem::take(failures) > 0 {
        tracing::info!("outbox listener connection restored");
    }
    loop {
        // Before the first notification as well, for messages committed before LISTEN took effect.
        bump(arrivals);
        while let Ok(received) = next(&mut listener).await {
            received?;
            bump(arrivals);
        }
        // Silence: a half-open connection looks the same, so it is checked.
        let asked = timeout(ANSWER_TIMEOUT, listener.execute("SELECT 1")).await;
        asked.map_err(|_| PostgresFault::Sql(sqlx::Error::PoolTimedOut))??;
    }
}

/// The next notification, an error for a lost connection, or `Elapsed` after a silence.
async fn next(listener: &mut PgListener) -> Result<Result<()>, tokio::time::error::Elapsed> {
    let received = timeout(SILENCE_MAX, listener.try_recv()).await?;
    Ok(match received {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(PostgresFault::Sql(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()))),
        Err(error) => Err(error.into()),
    })
}
