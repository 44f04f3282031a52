//! Pages of this process, reference, storefront and waiting room: the header fields of a page and of its files, and
//! whose form it is.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Time for which browsers keep a file of a page: a day.
const KEPT: &str = "public, max-age=86400";
/// Media type of a style sheet.
pub(crate) const CSS: &str = "text/css; charset=utf-8";

/// A file of a page, at an address with the version of the program, so that a new one is fetched.
pub(crate) fn file(media_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, KEPT)], text).into_response()
}

/// A page under its policy (`Content-Security-Policy`), in no frame of another page.
pub(crate) fn page(status: StatusCode, text: String, policy: &'static str) -> Response {
    let mut response = (status, Body::from(text)).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_FRAME_OPTIONS, "DENY"),
        // With `no-referrer` browsers would send a form with `Origin: null`.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a page of this host has sent the form: by `Sec-Fetch-Site`, or by `Origin` where a browser is too old for
/// it.
pub(crate) fn is_of_this_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, authority)| authority == host)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_other_sites_are_told_apart() {
        let is_ours = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            is_of_this_site(&headers)
        };
        let host = ("host", "shop.example");
        assert!(is_ours(&[("sec-fetch-site", "same-origin"), host]));
        assert!(is_ours(&[("origin", "https://shop.example"), host]));
        for other in ["cross-site", "same-site", "none"] {
            assert!(
                !is_ours(&[("sec-fetch-site", other), ("origin", "https://shop.example"), host]),
                "{other}"
            );
        }
        assert!(!is_ours(&[("origin", "https://evil.example"), host]));
        assert!(!is_ours(&[("origin", "null"), host]) && !is_ours(&[host]) && !is_ours(&[]));
    }
}
