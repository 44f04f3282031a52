//! Pages of this process, reference, storefront and waiting room: the header fields of a page and of its files.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

/// Time for which browsers keep a file of a page: a day.
const KEPT: &str = "public, max-age=86400";
/// Media type of a page.
pub(crate) const HTML: &str = "text/html; charset=utf-8";
/// Media type of a style sheet.
pub(crate) const CSS: &str = "text/css; charset=utf-8";

/// A file of a page, at an address with the version of the program, so that a new one is fetched.
pub(crate) fn file(media_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, KEPT)], text).into_response()
}

/// Puts a page under its policy (`Content-Security-Policy`), and in no frame of another page.
pub(crate) fn protect(response: &mut Response, policy: &'static str) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_FRAME_OPTIONS, "DENY"),
        // With `no-referrer` browsers would send a form with `Origin: null`.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A page under its policy.
pub(crate) fn page(status: StatusCode, text: String, policy: &'static str) -> Response {
    let mut response = (status, Body::from(text)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(HTML));
    protect(&mut response, policy);
    response
}
