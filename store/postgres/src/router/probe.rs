//! Measurement of replication lag.
//!
//! Guarantees: a [`Standby`] is published only for a replica of this very primary that answers, and every transaction
//! committed before its `fresh_until` is visible on it. A replica that is unreachable, silent or promoted is withdrawn
//! at once and probed until it returns. It returns with new connections, as statements on the old ones may never end.
//!
//! A round records the time, then the primary's WAL position, then the replica's replay position. Once the replica has
//! replayed a round's position, it has every transaction committed before that round's time. So the lag is measured by
//! one clock, that of this process, and a write need not ask for its WAL position: the time at which it ended is
//! enough.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use base::{
    Ambient,
    postgres::{self, Database, OpenError, PostgresConfig},
};
use sqlx::{ConnectOptions, PgConnection, Row, postgres::PgConnectOptions};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::config::DatabaseConfig;

/// Pause between rounds.
const EVERY: Duration = Duration::from_millis(100);
/// Longest wait for an answer, and for a connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest pause before probing an unavailable replica again.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Rounds kept that the replica has not replayed yet.
const ROUNDS_MAX: usize = 64;
/// Bytes of a WAL page, and of the header of each page but the first of a file (`xlog_internal.h`).
const PAGE: i64 = 8192;
const PAGE_HEADER: i64 = 24;

/// The position of all WAL written so far, including the part not flushed to disk.
const WRITTEN: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS at";
const REPLAYED: &str = "
    SELECT pg_is_in_recovery() AS follows, (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint AS at";
/// The primary's identity; a server made by a base backup has the same one.
const IDENTITY: &str =
    "SELECT system_identifier || ' ' || current_database() AS identity FROM pg_control_system()";

/// The replica, while it answers.
#[derive(Clone)]
pub(super) struct Standby {
    pub(super) database: Database,
    /// Number of the connection; rises each time the replica returns.
    pub(super) session: u64,
    /// The replica has every transaction committed before; `None` until that is known.
    pub(super) fresh_until: Option<Instant>,
}

pub(super) struct Probe {
    primary: PgConnectOptions,
    replica: PgConnectOptions,
    /// Host and port of the replica, for logs.
    server: String,
    reads: PostgresConfig,
    lag_max: Duration,
    ambient: Ambient,
}

/// The reason why the replica is not used.
#[derive(Debug, thiserror::Error)]
enum Away {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("response timeout")]
    Silent(#[from] tokio::time::error::Elapsed),
    #[error("not a replica of the primary's database")]
    Stranger,
    #[error("promoted: not in recovery")]
    Promoted,
}

impl Probe {
    /// `replica` is one of the database's replicas, and configures the pool that reads will use.
    pub(super) fn new(
        database: &DatabaseConfig,
        replica: &PostgresConfig,
        ambient: Ambient,
    ) -> Result<Self, OpenError> {
        let (primary, options) = (database.primary.pool_options()?, replica.pool_options()?);
        let reads = PostgresConfig { by_index: true, ..replica.clone() };
        let server = format!("{}:{}", options.get_host(), options.get_port());
        Ok(Self { primary, replica: options, server, reads, lag_max: database.lag_max, ambient })
    }

    /// Publishes the replica's state until the task is aborted.
    pub(super) async fn run(self, standby: watch::Sender<Option<Standby>>) {
        let (mut session, mut failures) = (0, 0);
        loop {
            session += 1;
            let away = match self.follow(session, &standby, &mut failures).await {
                Ok(never) => match never {},
                Err(away) => away,
            };
            standby.send_replace(None);
            failures += 1;
            if failures == 1 {
                tracing::warn!(replica = %self.server, error = %away, "replica unusable: reads go elsewhere");
            }
            let longest = PAUSE_MAX.min(EVERY * 2_u32.saturating_pow(failures - 1));
            tokio::time::sleep(longest / 2 + self.ambient.jitter(longest / 2)).await;
        }
    }

    /// Probes both servers until one does not answer.
    async fn follow(
        &self,
        session: u64,
        standby: &watch::Sender<Option<Standby>>,
        failures: &mut u32,
    ) -> Result<Infallible, Away> {
        let mut primary = timeout(ANSWER_TIMEOUT, self.primary.connect()).await??;
        let mut replica = timeout(ANSWER_TIMEOUT, self.replica.connect()).await??;
        if identity(&mut primary).await? != identity(&mut replica).await? {
            return Err(Away::Stranger);
        }
        // A promoted server is detected before a pool is opened to it.
        replayed(&mut replica).await?;
        let database = timeout(ANSWER_TIMEOUT, postgres::connect(&self.reads)).await??;
        let mut progress = Progress::default();
        loop {
            let begun = Instant::now();
            let end = end_of_last_record(ask(&mut primary, WRITTEN).await?.try_get("at")?);
            progress.begin(begun, end);
            progress.replayed(replayed(&mut replica).await?);
            if std::mem::take(failures) > 0 {
                tracing::info!(replica = %self.server, "replica usable again");
            }
            progress.tell(&self.server, self.lag_max);
            let (database, fresh_until) = (database.clone(), progress.fresh_until);
            standby.send_replace(Some(Standby { database, session, fresh_until }));
            tokio::time::sleep(EVERY).await;
        }
    }
}

#[derive(Default)]
struct Progress {
    /// Time and WAL position of the rounds it has not replayed, oldest first.
    rounds: VecDeque<(Instant, i64)>,
    fresh_until: Option<Instant>,
    is_behind: bool,
}

impl Progress {
    fn begin(&mut self, at: Instant, end: i64) {
        // When full, this round is skipped: there is room again once older ones are replayed.
        if self.rounds.len() < ROUNDS_MAX {
            self.rounds.push_back((at, end));
        }
    }

    fn replayed(&mut self, up_to: i64) {
        while let Some((at, _)) = self.rounds.front().copied().filter(|(_, end)| *end <= up_to) {
            self.fresh_until = Some(at);
            self.rounds.pop_front();
        }
    }

    /// Logs when the lag crosses the limit.
    fn tell(&mut self, replica: &str, lag_max: Duration) {
        let is_behind = self.fresh_until.is_none_or(|at| at.elapsed() > lag_max);
        if is_behind && !self.is_behind {
            tracing::warn!(%replica, ?lag_max, "replica lag above the limit: reads go elsewhere");
        } else if self.is_behind && !is_behind {
            tracing::info!(%replica, ?lag_max, "replica lag within the limit");
        }
        self.is_behind = is_behind;
    }
}

async fn ask(connection: &mut PgConnection, sql: &'static str) -> Result<sqlx::postgres::PgRow, Away> {
    // By the simple protocol: nothing is prepared, so it works behind a pooler.
    use sqlx::Executor;
    Ok(timeout(ANSWER_TIMEOUT, connection.fetch_one(sqlx::raw_sql(sql))).await??)
}

async fn identity(connection: &mut PgConnection) -> Result<String, Away> {
    Ok(ask(connection, IDENTITY).await?.try_get("identity")?)
}

async fn replayed(replica: &mut PgConnection) -> Result<i64, Away> {
    let row = ask(replica, REPLAYED).await?;
    let at: Option<i64> = row.try_get("at")?;
    if row.try_get("follows")? { at.ok_or(Away::Stranger) } else { Err(Away::Promoted) }
}

/// The position of the next record as a replica counts it: at the start of a page, before the page's header.
fn end_of_last_record(next: i64) -> i64 {
    if next % PAGE == PAGE_HEADER { next - PAGE_HEADER } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_as_fresh_as_the_last_round_it_replayed() {
        let start = Instant::now();
        let at = |n: u64| start + Duration::from_millis(n);
        let mut progress = Progress::default();
        progress.begin(at(0), 100);
        progress.replayed(99);
        assert_eq!(progress.fresh_until, None);
        progress.begin(at(1), 100);
        progress.begin(at(2), 200);
        progress.replayed(150);
        assert_eq!(progress.fresh_until, Some(at(1)));
        progress.replayed(200);
        assert_eq!(progress.fresh_until, Some(at(2)));
    }

    #[test]
    fn a_replica_that_stands_still_costs_no_memory() {
        let start = Instant::now();
        let mut progress = Progress::default();
        for n in 0..1000 {
            progress.begin(start + Duration::from_millis(n), 100 + i64::try_from(n).expect("small"));
        }
        assert_eq!(progress.rounds.len(), ROUNDS_MAX);
        progress.replayed(2000);
        progress.begin(start + Duration::from_secs(2), 2000);
        progress.replayed(2000);
        assert_eq!(progress.fresh_until, Some(start + Duration::from_secs(2)));
    }

    #[test]
    fn the_log_ends_before_the_header_of_an_empty_page() {
        assert_eq!(end_of_last_record(3 * PAGE + PAGE_HEADER), 3 * PAGE);
        assert_eq!(end_of_last_record(3 * PAGE + 100), 3 * PAGE + 100);
    }
}
