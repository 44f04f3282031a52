//! Extractors of callers: authentication, then the limits that apply.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::{HeaderMap, request};
use store::{merchants::KeyRecord, orders::IdempotencyKey};

use super::{limiter::Limiter, table::Caller};
use crate::{
    auth,
    input::{Body, required_idempotency_key, scoped_key},
    problem::{Problem, Result},
    state::ApiState,
};

/// An authenticated caller of checkout, before its request is read; see [`Self::admit`].
pub(crate) struct CheckoutCaller {
    key: KeyRecord,
    address: IpAddr,
}

/// A valid request within the limits.
pub(crate) struct Admitted<T> {
    pub(crate) key: KeyRecord,
    pub(crate) address: IpAddr,
    pub(crate) idempotency: IdempotencyKey,
    pub(crate) body: T,
}

impl CheckoutCaller {
    /// Counts a valid request against the caller's allowance, and an invalid one against a small allowance of its own.
    /// Returns the header fields of the allowance as well.
    ///
    /// # Errors
    /// The faults of the request, or a 429 when the allowance is used up.
    pub(crate) async fn admit<T>(
        self,
        state: &ApiState,
        headers: &HeaderMap,
        body: Result<Body<T>>,
    ) -> Result<(Admitted<T>, HeaderMap)> {
        let read = required_idempotency_key(headers).and_then(|key| Ok((key, body?)));
        match read {
            Ok((key, Body { value: body, fingerprint })) => {
                let rate = state.limiters.take_order(&self.key, self.address).await?;
                let idempotency = IdempotencyKey { key: scoped_key(self.key.scope, key), fingerprint };
                Ok((Admitted { key: self.key, address: self.address, idempotency, body }, rate))
            }
            Err(fault) => {
                let caller = Caller::KeyAt(self.key.id, self.address);
                Err(fault.with_headers(state.limiters.invalid_orders.take_told(caller).await?))
            }
        }
    }
}

impl FromRequestParts<ApiState> for CheckoutCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        let key = auth::authenticate(parts, state).await?;
        Ok(Self { key, address: state.client_ip(parts) })
    }
}

/// Parameters that make a list read more products than it shows.
const SEARCHES: [&str; 4] = ["q", "in_stock", "price_min", "price_max"];

/// A caller of a list that can be searched: authenticated, within the read limit and, for a search, the search limit.
pub(crate) struct SearchCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for SearchCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        let auth::AnyKey(key) = auth::AnyKey::from_request_parts(parts, state).await?;
        let query = parts.uri.query().unwrap_or_default();
        if url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| SEARCHES.contains(&&*name)) {
            let address = state.client_ip(parts);
            state.limiters.searches.take(&key, address).await?;
        }
        Ok(Self(key))
    }
}

/// A caller that lets a list be counted: authenticated, within the read limit and the search limit.
pub(crate) struct FacetCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for FacetCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        let auth::AnyKey(key) = auth::AnyKey::from_request_parts(parts, state).await?;
        let address = state.client_ip(parts);
        state.limiters.searches.take(&key, address).await?;
        Ok(Self(key))
    }
}

/// A caller of carts: authenticated, within the address limit.
pub(crate) struct CartCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for CartCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        known(parts, state, &state.limiters.carts_by_ip).await.map(Self)
    }
}

/// A caller that creates a cart: authenticated, within the limits of address and merchant.
pub(crate) struct NewCartCaller(pub(crate) KeyRecord);

impl FromRequestParts<ApiState> for NewCartCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        let key = known(parts, state, &state.limiters.new_carts_by_ip).await?;
        state.limiters.carts_by_ip.take(Caller::Address(state.client_ip(parts))).await?;
        state.limiters.new_carts_by_merchant.take(Caller::Merchant(key.merchant)).await?;
        Ok(Self(key))
    }
}

/// A visitor of a page, without a key: within the read limit of the address.
pub(crate) struct Visitor(IpAddr);

impl FromRequestParts<ApiState> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        let address = state.client_ip(parts);
        state.limiters.reads.take_at(address).await?;
        Ok(Self(address))
    }
}

impl Visitor {
    /// Takes a new place in a waiting room.
    pub(crate) async fn take_place(&self, state: &ApiState) -> Result<()> {
        state.limiters.take_new_place(self.0).await
    }
}

/// A caller that may take a place in a waiting room: authenticated, within the read limit.
pub(crate) struct RoomCaller {
    pub(crate) key: KeyRecord,
    pub(crate) visitor: Visitor,
}

impl FromRequestParts<ApiState> for RoomCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        let auth::AnyKey(key) = auth::AnyKey::from_request_parts(parts, state).await?;
        Ok(Self { key, visitor: Visitor(state.client_ip(parts)) })
    }
}

/// A caller whose request hashes or checks a password, and its address: authenticated, within the address limit.
pub(crate) struct PasswordCaller(pub(crate) KeyRecord, pub(crate) IpAddr);

impl FromRequestParts<ApiState> for PasswordCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self> {
        let key = known(parts, state, &state.limiters.sign_in_by_ip).await?;
        Ok(Self(key, state.client_ip(parts)))
    }
}

/// The key record of the request, within the limit of its address.
async fn known(parts: &request::Parts, state: &ApiState, by_ip: &Limiter) -> Result<KeyRecord> {
    let key = auth::authenticate(parts, state).await?;
    by_ip.take(Caller::Address(state.client_ip(parts))).await?;
    Ok(key)
}
