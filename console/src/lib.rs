#![doc = include_str!("../README.md")]

pub mod access;

mod answer;
mod cells;
mod edge;
mod error;
mod figures;
mod history;
mod page;
mod parts;
mod render;
mod routes;
mod sparkline;
mod state;
mod timeline;

use axum::{Extension, Router, extract::DefaultBodyLimit, middleware, routing::get};
use tower_http::catch_panic::CatchPanicLayer;

use crate::answer::Format;

pub use parts::{ConsoleConfig, ConsoleParts, ReadScaling, ScalingReading};
pub use state::Console;

/// Longest form, in bytes.
const FORM_BYTES_MAX: usize = 16 * 1024;

/// The whole console as one service, for a listener of its own.
pub fn app(console: Console) -> Router {
    let pages = routes::views().route("/", get(routes::overview)).layer(Extension(Format::Page));
    let json = routes::views().route("/overview", get(routes::overview)).layer(Extension(Format::Json));
    pages
        .nest("/api/v1", json)
        .merge(routes::entrance())
        .fallback(edge::not_found)
        .method_not_allowed_fallback(edge::method_not_allowed)
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .layer(CatchPanicLayer::custom(edge::on_panic))
        .layer(middleware::from_fn_with_state(console.clone(), edge::serve))
        .with_state(console)
}
