//! Cross-origin reads: which web pages of other origins may call the API (Fetch Standard, section 3.2).
//!
//! Guarantees: an origin that the operator names, exactly, and no other, or any with `*`; no cookies and so no
//! credentials mode. An answer to a secret key is never readable by a page: such a key is not for browsers.

use std::str::FromStr;

use axum::extract::Request;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use url::Url;

const ANY: &str = "*";
/// Seconds for which a browser may keep the answer to a preflight; none keeps it longer.
const MAX_AGE: &str = "7200";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, \
                               Orderworks-Device, Orderworks-Order-Token, Orderworks-Place, Orderworks-Proof, Orderworks-Session, \
                               Traceparent, X-Request-Id";
const RESPONSE_HEADERS: &str = "Content-Location, ETag, Idempotent-Replayed, Location, Orderworks-Order-Token, \
                                Orderworks-Proof-Bits, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id";

/// An origin as browsers send it (RFC 6454, section 6.2): `https://shop.example`, with a port other than the scheme's;
/// or [`Origin::any`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl Origin {
    pub fn any() -> Self {
        Self(HeaderValue::from_static(ANY))
    }

    fn matches(&self, sent: &HeaderValue) -> bool {
        self.0 == *sent || self.0 == ANY
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == ANY {
            return Ok(Self::any());
        }
        let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && !text.contains('*');
        let origin = Url::parse(text).ok().filter(is_web);
        let exact = origin.map(|url| url.origin().ascii_serialization());
        match (exact, HeaderValue::from_str(text)) {
            (Some(exact), Ok(value)) if exact == text => Ok(Self(value)),
            (Some(exact), _) => Err(format!("expected an origin without a path: {exact}")),
            _ => Err("expected an origin such as https://shop.example, or * for all".to_owned()),
        }
    }
}

/// The header fields that a response gets.
pub(crate) struct CorsHeaders(HeaderMap);

impl CorsHeaders {
    pub(crate) fn of(request: &Request, origins: &[Origin]) -> Self {
        let mut headers = HeaderMap::new();
        if origins.is_empty() {
            return Self(headers);
        }
        // Answers differ by origin, and some may be cached.
        headers.insert(header::VARY, HeaderValue::from_name(header::ORIGIN));
        let sent = request.headers();
        let named =
            sent.get(header::ORIGIN).and_then(|sent| origins.iter().find(|known| known.matches(sent)));
        // A preflight carries no credentials; what stands in them decides about the request that follows.
        let is_preflight =
            request.method() == Method::OPTIONS && sent.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let is_readable = is_preflight || !has_secret_key(sent);
        let Some(origin) = named.filter(|_| is_readable) else { return Self(headers) };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.0.clone());
        let mut tell = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
        if is_preflight {
            tell(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            tell(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            tell(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        } else {
            tell(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        }
        Self(headers)
    }

    /// Adds the fields to those of a response.
    pub(crate) fn add_to(self, response: &mut HeaderMap) {
        for (name, value) in self.0 {
            // Names come without repetition, each with one value.
            let Some(name) = name else { continue };
            response.append(name, value);
        }
    }
}

fn has_secret_key(headers: &HeaderMap) -> bool {
    let given = headers.get_all(header::AUTHORIZATION).iter();
    given.filter_map(|value| value.to_str().ok()).any(|value| value.contains("owk_sec_"))
}

#[cfg(test)]
mod tests {
    use super::Origin;

    #[test]
    fn origins_are_taken_as_browsers_send_them() {
        for good in [
            "https://shop.example",
            "http://localhost:3000",
            "https://shop.example:8443",
            "http://[::1]:5173",
            "*",
        ] {
            assert!(good.parse::<Origin>().is_ok(), "{good}");
        }
        for bad in [
            "null",
            "",
            "shop.example",
            "https://shop.example/",
            "https://shop.example/cart",
            "https://SHOP.example",
            "https://shop.example:443",
            "https://*.shop.example",
            "https://ada@shop.example",
            "ftp://shop.example",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
