//! Sign-in sessions and carts: small values that expire.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use base::Timestamp;

/// Bytes of a session's data at most; a cart of a hundred lines needs a tenth of that.
pub const SESSION_BYTES_MAX: usize = 64 * 1024;

/// The key of a session: its kind and its id. If the id is a bearer's secret, use its hash here: keys are stored and
/// shown in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey(String);

impl SessionKey {
    /// The key of a session of `kind`, which must not contain `:`.
    pub fn new(kind: &str, id: impl fmt::Display) -> Self {
        Self(format!("{kind}:{id}"))
    }

    /// The text stored in the engines.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    pub data: Vec<u8>,
    /// The version of the data; drawn at random by each write, see [`Sessions::replace`].
    pub version: i64,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The server or file cannot be reached now; whether a write took effect is unknown.
    #[error("the session store is unavailable: {detail}")]
    Unavailable {
        /// The cause, without secrets.
        detail: String,
        /// Start of the outage, if this call did not discover it.
        since: Option<Timestamp>,
    },
    /// A mistake in a statement, the schema or a permission; repeating it does not help.
    #[error("the session store does not work as this release expects: {detail}")]
    Defect {
        /// What the server or driver said, without secrets.
        detail: String,
    },
    /// More than [`SESSION_BYTES_MAX`].
    #[error("a session of {bytes} bytes is too large")]
    TooLarge { bytes: usize },
}

/// A store of sessions. A session ends `ttl` after it was last written. Answered writes survive a restart of
/// this process, and one of the server as far as the server is configured to persist.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// Writes unconditionally; returns the new version.
    async fn put(&self, key: &SessionKey, data: &[u8], ttl: Duration) -> Result<i64, SessionError>;

    /// Writes if the session still has the `expected` version (`None`: it does not exist); returns the new version, or
    /// `None` after a conflict: read again and repeat.
    async fn replace(
        &self,
        key: &SessionKey,
        expected: Option<i64>,
        data: &[u8],
        ttl: Duration,
    ) -> Result<Option<i64>, SessionError>;

    /// Reads a session that has not ended.
    async fn get(&self, key: &SessionKey) -> Result<Option<StoredSession>, SessionError>;

    /// Ends a session; false when it does not exist.
    async fn delete(&self, key: &SessionKey) -> Result<bool, SessionError>;

    /// Frees the space of ended sessions, at most `limit`; returns the number freed. Engines whose server does so
    /// return zero.
    async fn expire(&self, limit: u32) -> Result<u64, SessionError>;
}

pub(super) fn check_size(data: &[u8]) -> Result<(), SessionError> {
    let bytes = data.len();
    if bytes > SESSION_BYTES_MAX { Err(SessionError::TooLarge { bytes }) } else { Ok(()) }
}
