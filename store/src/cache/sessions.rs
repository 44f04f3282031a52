//! Sign-in sessions and carts: small values that live while they are used.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use base::Timestamp;

/// Bytes of a session's data at most; a cart of a hundred lines is a tenth of it.
pub const SESSION_BYTES_MAX: usize = 64 * 1024;

/// Names a session: its kind and its id. Where the id is a bearer's secret, its hash belongs here, not itself: keys
/// are stored and shown in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey(String);

impl SessionKey {
    /// `kind` without `:`.
    pub fn new(kind: &str, id: impl fmt::Display) -> Self {
        Self(format!("{kind}:{id}"))
    }

    /// As it stands in the engines.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A session as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// What was put.
    pub data: Vec<u8>,
    /// Names this state of it; drawn afresh by each write, see [`Sessions::replace`].
    pub version: i64,
}

/// Why a session store could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The server or file cannot be reached now; whether a write took effect is unknown.
    #[error("the session store is unavailable: {detail}")]
    Unavailable {
        /// What is known, without secrets.
        detail: String,
        /// Since when, if it has been so before.
        since: Option<Timestamp>,
    },
    /// More than [`SESSION_BYTES_MAX`].
    #[error("a session of {bytes} bytes is too large")]
    TooLarge {
        /// How large.
        bytes: usize,
    },
}

/// Keeps sessions. A session ends `ttl` after it was last written or touched. What was answered survives a restart of
/// ours, and one of the server as far as that is configured to.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// Writes, whatever was there; answers the new version.
    async fn put(&self, key: &SessionKey, data: &[u8], ttl: Duration) -> Result<i64, SessionError>;

    /// Writes if the session is still as it was read (`None`: not there); answers the new version, or `None` when
    /// somebody else was faster: read again and repeat.
    async fn replace(
        &self,
        key: &SessionKey,
        expected: Option<i64>,
        data: &[u8],
        ttl: Duration,
    ) -> Result<Option<i64>, SessionError>;

    /// Reads.
    async fn get(&self, key: &SessionKey) -> Result<Option<StoredSession>, SessionError>;

    /// Lets it live on for `ttl` from now; false when there is none.
    async fn touch(&self, key: &SessionKey, ttl: Duration) -> Result<bool, SessionError>;

    /// Ends it; false when there is none.
    async fn delete(&self, key: &SessionKey) -> Result<bool, SessionError>;

    /// Frees the room of ended sessions, at most `limit`; answers how many. Engines whose server does so answer zero.
    async fn expire(&self, limit: u32) -> Result<u64, SessionError>;
}

pub(super) fn check_size(data: &[u8]) -> Result<(), SessionError> {
    let bytes = data.len();
    if bytes > SESSION_BYTES_MAX { Err(SessionError::TooLarge { bytes }) } else { Ok(()) }
}
