//! Parameters of paths.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use http::request;
use serde::de::DeserializeOwned;

use crate::{problem::Problem, state::ApiState};

/// The parameter of a path, or a tuple of all. axum's own extractor rejects with plain text instead of a problem.
pub(crate) struct PathText<T = String>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<ApiState> for PathText<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        let text = Path::<T>::from_request_parts(parts, state).await;
        text.map(|Path(text)| Self(text)).map_err(|_| Problem::not_found("resource"))
    }
}

/// Parses an id in a path. Malformed text gets the same 404 as an unknown id.
pub(crate) fn parse_id<T: FromStr>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}
