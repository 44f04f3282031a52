//! Style sheet and script of the storefront: two files of its own, which pages name with the version of the program.

use axum::response::Response;

use crate::own_pages::{CSS, file};

const STYLES: &str = include_str!("../../assets/storefront.css");
const SCRIPT: &str = include_str!("../../assets/storefront.js");

pub(super) async fn styles() -> Response {
    file(CSS, STYLES)
}

pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}
