//! Answer to a request that a form has sent, read within bounds and as a page shows it.

use std::time::Duration;

use axum::response::Response;
use http_body_util::BodyExt;

/// Bytes of a body that are shown.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Longest time for a body: an event stream does not end by itself, and the events so far arrive at once.
const BODY_TIME_MAX: Duration = Duration::from_secs(2);

/// What a page shows of an answer.
#[derive(Debug)]
pub(super) struct Sent {
    /// Status, such as `202 Accepted`.
    pub(super) status: String,
    pub(super) is_good: bool,
    /// Header fields, one a line.
    pub(super) headers: String,
    /// JSON in lines, other bodies as they are.
    pub(super) body: String,
}

impl Sent {
    /// No request was made.
    pub(super) fn refused(why: &str) -> Self {
        Self { status: why.to_owned(), is_good: false, headers: String::new(), body: String::new() }
    }

    pub(super) async fn read(response: Response) -> Self {
        let (parts, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        let reading = async {
            while let Some(Ok(frame)) = body.frame().await
                && bytes.len() <= BODY_BYTES_MAX
            {
                if let Ok(data) = frame.into_data() {
                    bytes.extend_from_slice(&data);
                }
            }
        };
        let is_over = tokio::time::timeout(BODY_TIME_MAX, reading).await.is_ok();
        let is_whole = is_over && bytes.len() <= BODY_BYTES_MAX;
        bytes.truncate(BODY_BYTES_MAX);
        let mut body = match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Ok(json) => serde_json::to_string_pretty(&json).unwrap_or_default(),
            Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        if !is_whole {
            body.push_str("\n(not read any further)");
        }
        let headers = parts.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            format!("{name}: {value}\n")
        });
        Self {
            status: parts.status.to_string(),
            is_good: parts.status.is_success(),
            headers: headers.collect(),
            body,
        }
    }
}
