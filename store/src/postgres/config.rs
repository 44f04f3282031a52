//! How to reach the server, and the limits every connection gets.

use std::{str::FromStr, sync::Once, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// A connection idle for longer is asked for a sign of life before it is used. One that was just used is not: that would
/// cost every request a round trip.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// Different statements there are, and some room.
const STATEMENTS_MAX: usize = 200;

/// How to reach a PostgreSQL server. [`PostgresConfig::new`] gives defaults for a checkout.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host[:port]/database[?sslmode=verify-full&sslrootcert=…]`.
    pub url: SecretString,
    /// The same past the pooler, for what a pooler in transaction mode cannot do: LISTEN and migrations. When `None`
    /// and `pgbouncer` is set there is no LISTEN, and a relay polls.
    pub direct_url: Option<SecretString>,
    /// Most connections of this handle.
    pub pool_max: u32,
    /// Longest wait for a connection when all are in use, and for the server to accept a new one.
    pub acquire_timeout: Duration,
    /// The server breaks off a statement that takes longer; at least 1 ms.
    pub statement_timeout: Duration,
    /// The server breaks off a statement that waits longer for a lock; at least 1 ms.
    pub lock_timeout: Duration,
    /// The server ends a connection that leaves a transaction open and idle for longer; at least 1 ms.
    pub idle_in_transaction_timeout: Duration,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
    /// Whether `url` leads to a pooler in transaction mode (`pool_mode = transaction`). Every statement then goes
    /// unnamed and inside a transaction, which costs round trips.
    pub pgbouncer: bool,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address is malformed. It is not shown, as it holds a password.
    #[error("{field} is not of the form postgres://user:password@host[:port]/database[?sslmode=…]")]
    Url {
        /// Which of the addresses.
        field: &'static str,
    },
}

/// Where a connection's limits are set.
pub(super) enum Limits {
    /// At login.
    Login,
    /// Not at all: for migrations, which take as long as they take.
    None,
}

impl PostgresConfig {
    /// 10 connections, 3 s to get one, statements of at most 5 s, locks waited for 3 s, transactions idle for 10 s.
    pub fn new(url: SecretString, application_name: impl Into<String>) -> Self {
        Self {
            url,
            direct_url: None,
            pool_max: 10,
            acquire_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(3),
            idle_in_transaction_timeout: Duration::from_secs(10),
            application_name: application_name.into(),
            pgbouncer: false,
        }
    }

    /// The pool; connects when first used.
    pub(super) fn pool(&self) -> Result<PgPool, ConfigError> {
        let options = self.options("url", &self.url)?;
        let options = if self.pgbouncer { options } else { self.limited(options) };
        let check = PgPoolOptions::new()
            .max_connections(self.pool_max)
            .acquire_timeout(self.acquire_timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            });
        Ok(check.connect_lazy_with(options))
    }

    /// Where to LISTEN; `None` when nothing but a pooler is known.
    pub(super) fn listener(&self) -> Result<Option<PgConnectOptions>, ConfigError> {
        if self.pgbouncer && self.direct_url.is_none() {
            return Ok(None);
        }
        self.direct(Limits::Login).map(Some)
    }

    /// Past the pooler.
    pub(super) fn direct(&self, limits: Limits) -> Result<PgConnectOptions, ConfigError> {
        let options = match &self.direct_url {
            Some(url) => self.options("direct_url", url)?,
            None => self.options("url", &self.url)?,
        };
        Ok(match limits {
            Limits::Login => self.limited(options),
            Limits::None => options,
        })
    }

    /// Begins a transaction. Behind a pooler the limits are set here: it refuses them at login, and a plain SET would
    /// stay with a server connection that the next client gets.
    pub(super) fn begin(&self) -> String {
        if !self.pgbouncer {
            return "BEGIN".to_owned();
        }
        let set = self.limits().map(|(name, value)| format!("SET LOCAL {name} = {value}")).join("; ");
        format!("BEGIN; {set}")
    }

    fn limited(&self, options: PgConnectOptions) -> PgConnectOptions {
        options.options(self.limits())
    }

    fn limits(&self) -> [(&'static str, String); 3] {
        let millis = |limit: Duration| limit.as_millis().max(1).to_string();
        [
            ("statement_timeout", millis(self.statement_timeout)),
            ("lock_timeout", millis(self.lock_timeout)),
            ("idle_in_transaction_session_timeout", millis(self.idle_in_transaction_timeout)),
        ]
    }

    fn options(&self, field: &'static str, url: &SecretString) -> Result<PgConnectOptions, ConfigError> {
        choose_cryptography();
        // The parser's message may quote the text, and with it the password.
        let options =
            PgConnectOptions::from_str(url.expose_secret()).map_err(|_| ConfigError::Url { field })?;
        let statements = if self.pgbouncer { 0 } else { STATEMENTS_MAX };
        Ok(options
            .application_name(&self.application_name)
            // A pooler refuses the parameter unless told to ignore it, and no column here is a float.
            .extra_float_digits(None)
            .statement_cache_capacity(statements))
    }
}

/// Several crates of one process may bring several providers; rustls then wants one named. The first one stays.
fn choose_cryptography() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_address_is_refused_without_showing_it() {
        let config = PostgresConfig::new("nonsense with pa55word".into(), "test");
        let error = config.pool().expect_err("refused");
        assert!(!format!("{error} {error:?} {config:?}").contains("pa55word"));
    }

    #[test]
    fn limits_go_with_the_transaction_behind_a_pooler() {
        let mut config = PostgresConfig::new("postgres://u:p@localhost/d".into(), "test");
        assert_eq!(config.begin(), "BEGIN");
        config.pgbouncer = true;
        assert!(config.begin().starts_with("BEGIN; SET LOCAL statement_timeout = 5000; "));
        assert!(config.listener().is_ok_and(|listener| listener.is_none()));
    }
}
