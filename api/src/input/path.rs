//! Parameters of paths.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use http::request;

use crate::{problem::Problem, state::ApiState};

/// The only parameter of a path. axum's own extractor rejects with plain text instead of a problem.
pub(crate) struct PathText(pub(crate) String);

impl FromRequestParts<ApiState> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        text.map(|Path(text)| Self(text)).map_err(|_| Problem::not_found("resource"))
    }
}

/// The two parameters of a path.
pub(crate) struct PathTexts(pub(crate) String, pub(crate) String);

impl FromRequestParts<ApiState> for PathTexts {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        let texts = Path::<(String, String)>::from_request_parts(parts, state).await;
        texts.map(|Path((first, second))| Self(first, second)).map_err(|_| Problem::not_found("resource"))
    }
}

/// Parses an id in a path. Malformed text gets the same 404 as an unknown id.
pub(crate) fn parse_id<T: FromStr>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::not_found(what))
}
