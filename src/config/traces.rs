//! Settings of traces.

use url::Url;

use super::{network::PlainHosts, reader::Reader};

/// Where spans are sent, and which.
#[derive(Debug, Clone)]
pub(crate) struct Traces {
    /// The collector's address for OTLP over HTTP.
    pub(crate) endpoint: Url,
    /// Share of new traces that are recorded, from 0 to 1.
    pub(crate) ratio: f64,
}

impl Traces {
    /// `None`: nothing is recorded.
    pub(super) fn read(r: &mut Reader, plain: &PlainHosts) -> Option<Self> {
        let ratio = r.within("traces", "ratio", 0.0..=1.0);
        let endpoint: Url = r.optional("traces", "endpoint")?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            r.fault("traces", "endpoint", "must begin with http:// or https://");
        }
        let host = endpoint.host_str().unwrap_or("/");
        let is_protected = endpoint.scheme() == "https";
        plain.check(r, ("traces", "endpoint"), host, is_protected, "begin it with https://");
        Some(Self { endpoint, ratio })
    }
}
