//! Waking relays: LISTEN on a connection of its own, NOTIFY after the commit.
//!
//! Guarantees: what is announced reaches relays of this process at once and those of others within [`NOTIFY_EVERY`] and
//! a round trip, while both have a connection; a lost one is made anew, and whoever listens again is woken for what it
//! may have missed. A process that dies between its commit and its NOTIFY wakes nobody: polling makes that good.
//!
//! Not in the placing transaction: a commit that notifies takes a lock of the whole server and keeps it until its write
//! to disk is done, so that such commits no longer share one. `docs/POSTGRES.md` has the measurements.

use std::{convert::Infallible, sync::OnceLock, time::Duration};

use base::{Ambient, postgres::Database};
use sqlx::{
    Executor, PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{sync::watch, task::AbortHandle, time::timeout};

use super::fault::PostgresFault;

/// Of this database; the server keeps databases apart.
const CHANNEL: &str = "orderworks_outbox";
const NOTIFY: &str = "SELECT pg_notify('orderworks_outbox', '')";
/// One NOTIFY stands for all messages announced while it waits.
const NOTIFY_EVERY: Duration = Duration::from_millis(5);
/// After so long a silence the connection is asked whether it still stands.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest wait for that answer, and for a connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause before connecting again.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Wakes relays, and is woken. Its tasks end with it.
pub(super) struct Wake {
    arrivals: watch::Sender<u64>,
    committed: watch::Sender<()>,
    listen: Option<PgConnectOptions>,
    ambient: Ambient,
    listener: OnceLock<AbortHandle>,
    notifier: AbortHandle,
}

impl Wake {
    /// Notifies over `database`; listens with `listen`, once somebody asks for arrivals.
    pub(super) fn start(database: Database, listen: Option<PgConnectOptions>, ambient: Ambient) -> Self {
        let committed = watch::Sender::new(());
        let notifier = tokio::spawn(notify(database, committed.subscribe())).abort_handle();
        let (arrivals, listener) = (watch::Sender::new(0), OnceLock::new());
        Self { arrivals, committed, listen, ambient, listener, notifier }
    }

    /// Tells relays, here and elsewhere, that messages were committed. Does not wait.
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

/// Tells relays to look.
pub(super) fn bump(arrivals: &watch::Sender<u64>) {
    arrivals.send_modify(|arrivals| *arrivals = arrivals.wrapping_add(1));
}

/// Sends one NOTIFY for all that was committed meanwhile. A failure is told by whatever uses the pool next.
async fn notify(database: Database, mut committed: watch::Receiver<()>) {
    while committed.changed().await.is_ok() {
        // Safe behind a pooler as it stands.
        if let Err(error) = database.say(NOTIFY).await {
            tracing::debug!(error = %error, "relays were not notified; they poll");
        }
        tokio::time::sleep(NOTIFY_EVERY).await;
    }
}

/// Listens for as long as it is let.
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
            tracing::warn!(error = %error, "relays are not notified of messages and poll until it works again");
        }
        let longest = PAUSE_MAX.min(PAUSE * 2_u32.saturating_pow(failures - 1));
        tokio::time::sleep(longest / 2 + ambient.jitter(longest / 2)).await;
    }
}

/// Listens until the connection is lost.
async fn session(
    pool: &PgPool,
    arrivals: &watch::Sender<u64>,
    failures: &mut u32,
) -> Result<Infallible, PostgresFault> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    if std::mem::take(failures) > 0 {
        tracing::info!("relays are notified of messages again");
    }
    loop {
        // At the start, too: for what was committed before LISTEN took effect.
        bump(arrivals);
        while let Ok(received) = next(&mut listener).await {
            received?;
            bump(arrivals);
        }
        // Silence: a line cut without a word looks just the same.
        let asked = timeout(ANSWER_TIMEOUT, listener.execute("SELECT 1")).await;
        asked.map_err(|_| PostgresFault::Sql(sqlx::Error::PoolTimedOut))??;
    }
}

/// The next notification, its loss, or the end of patience.
async fn next(listener: &mut PgListener) -> Result<Result<(), PostgresFault>, tokio::time::error::Elapsed> {
    let received = timeout(SILENCE_MAX, listener.try_recv()).await?;
    Ok(match received {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(PostgresFault::Sql(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()))),
        Err(error) => Err(error.into()),
    })
}
