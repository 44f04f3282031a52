//! Extractor of the cart that a path names (`/v1/carts/{id}`, and what is below it), with its caller.
//!
//! Guarantees: the key is checked and the request is counted for a limit before the path is read; id and session are
//! read when the handler asks for the cart, so that faults of a body come first. Does not load the cart: see `CartRef`.
//! Checkout has an extractor of its own, which counts a request by its body.

use axum::extract::FromRequestParts;
use http::{HeaderMap, request};
use serde::Deserialize;
use store::merchants::KeyRecord;

use crate::{
    auth::AnyKey,
    carts::CartRef,
    input::{PathText, parse_id},
    limits::CartCaller,
    problem::{Problem, Result},
    state::ApiState,
};

/// A cart by its path. Safe methods count against the read limits, others against the limit of carts.
pub(super) struct NamedCart {
    state: ApiState,
    key: KeyRecord,
    /// As it was sent.
    id: String,
    headers: HeaderMap,
}

/// The parameters of the path; those beside the id are the handler's.
#[derive(Deserialize)]
struct CartPath {
    id: String,
}

impl FromRequestParts<ApiState> for NamedCart {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        let key = if parts.method.is_safe() {
            AnyKey::from_request_parts(parts, state).await?.0
        } else {
            CartCaller::from_request_parts(parts, state).await?.0
        };
        let PathText(CartPath { id }) = PathText::<CartPath>::from_request_parts(parts, state).await?;
        Ok(Self { state: state.clone(), key, id, headers: parts.headers.clone() })
    }
}

impl NamedCart {
    /// The caller's reference to the cart: a 404 for a malformed id, a 401 for an ended session.
    pub(super) async fn place(&self) -> Result<CartRef<'_>> {
        CartRef::of(&self.state, &self.key, &self.headers, parse_id(&self.id, "cart")?).await
    }
}
