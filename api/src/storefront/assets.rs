//! Style sheet and script of the storefront: two files of its own, which pages name with the version of the program.

use axum::response::{IntoResponse, Response};
use http::header;

const STYLES: &str = include_str!("../../assets/storefront.css");
const SCRIPT: &str = include_str!("../../assets/storefront.js");
/// Time for which browsers keep them; a new version has a new address.
const KEPT: &str = "public, max-age=86400";

pub(super) async fn styles() -> Response {
    file("text/css; charset=utf-8", STYLES)
}

pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, KEPT)], text).into_response()
}
