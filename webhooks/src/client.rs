//! The HTTP client for addresses of merchants, and the header fields of a signed post.

use std::{sync::Arc, time::Duration};

use base::TraceContext;
use reqwest::{Client, RequestBuilder};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};

use crate::{http_client::install_tls_provider, resolver::GuardedResolver, url_policy::UrlPolicy};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
const IDLE_PER_HOST_MAX: usize = 8;

/// A client that dials allowed addresses only, follows no redirect and uses no proxy.
pub(crate) fn guarded(policy: UrlPolicy) -> Result<Client, reqwest::Error> {
    install_tls_provider();
    Client::builder()
        .user_agent(concat!("Orderworks/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(GuardedResolver { policy }))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .build()
}

/// What a receiver needs to check a message: its id, the time of the attempt in seconds since the epoch, signatures.
pub(crate) struct Signed {
    pub(crate) id: String,
    pub(crate) timestamp: i64,
    pub(crate) signature: String,
    pub(crate) trace: Option<TraceContext>,
}

/// The request with the header fields of a signed JSON body.
pub(crate) fn with_headers(request: RequestBuilder, signed: Signed) -> RequestBuilder {
    let mut request = request
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(HEADER_WEBHOOK_ID, signed.id)
        .header(HEADER_WEBHOOK_TIMESTAMP, signed.timestamp)
        .header(HEADER_WEBHOOK_SIGNATURE, signed.signature);
    if let Some(trace) = signed.trace {
        request = request.header("traceparent", trace.parent());
        if let Some(state) = trace.state() {
            request = request.header("tracestate", state);
        }
    }
    request
}
