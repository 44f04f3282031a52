//! Hooks: a signed question to a merchant's server, whose answer is used.
//!
//! Guarantees: as for webhooks, the address is checked on every call and the body is signed; the whole call ends within
//! its deadline, and at most [`HOOK_ANSWER_BYTES_MAX`] of an answer are read. Does not repeat a call and does not read
//! the answer: the caller decides what follows from a failure.

use std::time::Duration;

use base::{Timestamp, TraceContext};
use reqwest::Client;

use crate::{
    client::{self, Signed},
    failure,
    http_client::read_bounded,
    signature::{SecretError, sign},
    url_policy::{UrlPolicy, UrlRefusal},
};

/// Bytes of an answer at most; a longer one is a failure.
pub const HOOK_ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Calls hooks over HTTP; clones share the connections.
#[derive(Clone)]
pub struct HookCaller {
    client: Client,
    policy: UrlPolicy,
}

/// A call that is not yet checked and signed.
pub struct HookCall<'a> {
    pub url: &'a str,
    /// The hook's secret, `whsec_…`.
    pub secret: &'a str,
    /// The id of the call (`webhook-id`); another one for each call.
    pub id: String,
    /// JSON.
    pub body: String,
    /// Sent as `traceparent` and `tracestate`.
    pub trace: Option<TraceContext>,
    pub at: Timestamp,
    /// Longest time for connecting, sending and the whole answer.
    pub deadline: Duration,
}

/// Why a hook has no answer that can be used. The texts tell nothing about our network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// A status other than 2xx.
    #[error("status {0}")]
    Status(u16),
    /// No whole answer within the deadline; a code of [`crate::Answer::error`].
    #[error("{0}")]
    Unanswered(&'static str),
    #[error("the answer is too long")]
    TooLong,
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl HookError {
    /// Whether the deadline ended the call.
    pub fn is_timeout(&self) -> bool {
        *self == Self::Unanswered(failure::TIMEOUT)
    }
}

impl HookCaller {
    /// One per process, so that connections are reused.
    pub fn new(policy: UrlPolicy) -> Result<Self, reqwest::Error> {
        Ok(Self { client: client::guarded(policy)?, policy })
    }

    /// The body of a 2xx answer.
    pub async fn call(&self, call: HookCall<'_>) -> Result<Vec<u8>, HookError> {
        let signature = sign(&[call.secret], &call.id, call.at, &call.body)?;
        // Literal addresses never reach the resolver, so the form is checked on every call as well.
        let url = self.policy.check(call.url).map_err(|refusal| {
            let is_address = refusal == UrlRefusal::Address;
            HookError::Unanswered(if is_address { failure::UNREACHABLE_NAME } else { "bad_url" })
        })?;
        let HookCall { id, body, trace, at, deadline, .. } = call;
        let signed = Signed { id, timestamp: at.as_second(), signature, trace };
        let request = client::with_headers(self.client.post(url).timeout(deadline), signed);
        let unanswered = |error: reqwest::Error| HookError::Unanswered(failure::code(&error));
        let response = request.body(body).send().await.map_err(unanswered)?;
        let status = response.status();
        if !status.is_success() {
            return Err(HookError::Status(status.as_u16()));
        }
        match read_bounded(response, HOOK_ANSWER_BYTES_MAX).await.map_err(unanswered)? {
            (body, true) => Ok(body),
            (_, false) => Err(HookError::TooLong),
        }
    }
}
