//! Result of a post: a status, or the code of a failure.

use std::time::Duration;

/// Result of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// Failure code: `status` for any status but 2xx, or why no answer came (`timeout`, `connect`, `tls`,
    /// `unreachable_name`, `bad_url`, `connection_lost`).
    pub error: Option<&'static str>,
    /// Wait requested by `Retry-After` (429 and 503 only).
    pub retry_after: Option<Duration>,
}

impl Answer {
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Self {
        let error = (!(200..300).contains(&status)).then_some("status");
        Self { status: Some(status), error, retry_after }
    }

    /// No answer, for the reason that the code names.
    pub const fn failed(error: &'static str) -> Self {
        Self { status: None, error: Some(error), retry_after: None }
    }
}
