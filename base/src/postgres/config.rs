//! Address and limits of a PostgreSQL server.

use std::{str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{ConnectOptions, postgres::PgConnectOptions};

use super::error::OpenError;

/// See [`PostgresConfig::by_index`]. A connection caches its plans. A plan made while a queue was nearly empty would
/// scan the whole table, once for each of its rows, and stay cached while thousands of messages pile up, until the
/// table is analyzed again. With sequential scans disabled, the planner uses indexes from the start. It adds a
/// prohibitive cost to the remaining sequential scans, which would trigger JIT compilation, so that is off as well.
const PLANNING: [(&str, &str); 2] = [("enable_seqscan", "off"), ("jit", "off")];

/// The address of a server, and its limits.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=verify-full`; the mode defaults to `prefer`.
    pub url: SecretString,
    /// The server itself, where `url` leads to a `PgBouncer`: migrations need a session of their own.
    pub direct_url: Option<SecretString>,
    pub pool_max: u32,
    pub acquire_timeout: Duration,
    pub statement_timeout: Duration,
    pub lock_timeout: Duration,
    /// Time that a transaction may be idle before the server ends it.
    pub idle_in_transaction_timeout: Duration,
    /// The name shown in `pg_stat_activity`.
    pub application_name: String,
    /// `url` leads to a `PgBouncer` in transaction mode: no named statements, every statement in a transaction, the
    /// timeouts set in each.
    pub pgbouncer: bool,
    /// Plans use indexes however small a table is: for tables whose queues grow from empty to thousands of rows within
    /// seconds; not for tables with many empty partitions, where it misleads the planner.
    pub by_index: bool,
}

impl PostgresConfig {
    /// The default limits for a server; `application_name` is shown there.
    pub fn new(url: SecretString, application_name: &str) -> Self {
        Self {
            url,
            direct_url: None,
            pool_max: 10,
            acquire_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            idle_in_transaction_timeout: Duration::from_secs(10),
            application_name: application_name.to_owned(),
            pgbouncer: false,
            by_index: false,
        }
    }

    pub(super) fn options(&self, url: &SecretString) -> Result<PgConnectOptions, OpenError> {
        // The parser's error may quote the address, which holds the password.
        let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| OpenError::Address)?;
        Ok(options.application_name(&self.application_name).disable_statement_logging())
    }

    /// Options of a connection that needs a session, such as LISTEN; `None` when only the `PgBouncer` can be reached.
    pub fn direct_options(&self) -> Result<Option<PgConnectOptions>, OpenError> {
        let url = match (&self.direct_url, self.pgbouncer) {
            (Some(direct), _) => direct,
            (None, true) => return Ok(None),
            (None, false) => &self.url,
        };
        Ok(Some(self.options(url)?.options(self.limits())))
    }

    /// Options of a connection whose statements need no session: it may lead to a `PgBouncer`.
    pub fn pool_options(&self) -> Result<PgConnectOptions, OpenError> {
        let options = self.options(&self.url)?;
        if self.pgbouncer {
            // PgBouncer rejects start-up parameters it does not know; these two are among them.
            return Ok(options.statement_cache_capacity(0).extra_float_digits(None));
        }
        let options = options.options(self.limits());
        Ok(if self.by_index { options.options(PLANNING) } else { options })
    }

    fn limits(&self) -> [(&'static str, String); 3] {
        let millis = |limit: Duration| format!("{}ms", limit.as_millis());
        [
            ("statement_timeout", millis(self.statement_timeout)),
            ("lock_timeout", millis(self.lock_timeout)),
            ("idle_in_transaction_session_timeout", millis(self.idle_in_transaction_timeout)),
        ]
    }

    pub(super) fn begin_statement(&self) -> Option<String> {
        let set = |(name, limit)| format!("; SET LOCAL {name} = '{limit}'");
        self.pgbouncer.then(|| format!("BEGIN{}", self.limits().map(set).concat()))
    }
}
