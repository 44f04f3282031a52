//! What the clients of both providers share: how they are set up, what a broken exchange means, bounded answers.

use std::time::Duration;

use http::StatusCode;
use reqwest::{Client, RequestBuilder, Response};
use serde::Deserialize;

use super::ProviderError;
use crate::http_client::{install_tls_provider, read_bounded};

/// Largest answer read: a page of a hundred charges, some with all the metadata they can have.
const RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The client could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client")]
pub struct ClientError(#[from] reqwest::Error);

/// A client that waits no longer than `timeout` for a whole answer, and goes where it is told only.
pub(super) fn client(timeout: Duration) -> Result<Client, ClientError> {
    install_tls_provider();
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("Orderworks/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}

/// Sends a request; whatever the answer is, it is one.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, ProviderError> {
    request.send().await.map_err(|error| classify(&error))
}

/// The whole of an answer.
pub(super) async fn read(response: Response) -> Result<(StatusCode, Vec<u8>), ProviderError> {
    let status = response.status();
    let (body, whole) = read_bounded(response, RESPONSE_BYTES_MAX).await.map_err(|error| classify(&error))?;
    if whole { Ok((status, body)) } else { Err(ProviderError::Protocol { detail: "answer_too_large" }) }
}

/// An answer that must be JSON of this shape.
pub(super) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ProviderError> {
    serde_json::from_slice(body).map_err(|_| ProviderError::Protocol { detail: "undecodable_answer" })
}

/// A request that never got onto a connection did nothing; after that, nobody knows.
fn classify(error: &reqwest::Error) -> ProviderError {
    if error.is_connect() {
        ProviderError::Unavailable { retry_after: None }
    } else if error.is_timeout() {
        ProviderError::Unknown { cause: "timeout" }
    } else if error.is_builder() {
        ProviderError::Protocol { detail: "bad_request" }
    } else {
        ProviderError::Unknown { cause: "connection_lost" }
    }
}
