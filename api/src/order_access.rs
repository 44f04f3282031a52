//! Access to the personal data of orders. With a publishable key, an order's id shows its state, amounts and lines. The
//! personal data are shown with a secret key, in the session of the customer who placed the order, or with the order's
//! token.
//!
//! Guarantees: a token is shown in the response that accepts an order and nowhere else; only its hash is stored. It
//! gives access to one order, until it expires, is revoked, or is replaced by the response to a repeated request. An id
//! alone gives no access to personal data.

use base::{Timestamp, time::later};
use http::{HeaderMap, HeaderName, HeaderValue};
use store::{
    domain::{CustomerId, MerchantId, Order, OrderToken},
    merchants::{KeyRecord, KeyScope},
    token::{Token, TokenKind},
};
use subtle::ConstantTimeEq;

use crate::{
    problem::{Kind, Problem},
    sessions::{self, bearer_token},
    state::ApiState,
};

pub(crate) const HEADER: HeaderName = HeaderName::from_static("orderworks-order-token");

/// A new token: its stored form, and the value to send to its bearer.
pub(crate) struct IssuedToken {
    pub(crate) stored: OrderToken,
    shown: HeaderValue,
}

impl IssuedToken {
    pub(crate) fn draw(state: &ApiState) -> Result<Self, Problem> {
        let token = Token::fresh(TokenKind::Order, &state.ambient);
        let expires_at = later(state.ambient.now(), state.config.order_token_ttl);
        let stored = OrderToken { hash: token.hash(), expires_at };
        let mut shown = HeaderValue::try_from(token.expose()).map_err(|_| {
            tracing::error!("order token is not a valid header value");
            Problem::logged()
        })?;
        shown.set_sensitive(true);
        Ok(Self { stored, shown })
    }

    pub(crate) fn header(self) -> [(HeaderName, HeaderValue); 1] {
        [(HEADER, self.shown)]
    }
}

/// Whether the caller may see the personal data of an order. An ended session is a 401.
pub(crate) async fn is_shown_whole(
    state: &ApiState,
    key: &KeyRecord,
    headers: &HeaderMap,
    order: &Order,
) -> Result<bool, Problem> {
    if key.scope == KeyScope::Secret || opens(order, headers, state.ambient.now()) {
        return Ok(true);
    }
    let customer = account(state, key.merchant, headers).await?;
    Ok(customer.is_some() && customer == order.account)
}

/// The signed-in customer. `None` while the session store is unavailable, because orders do not depend on it.
pub(crate) async fn account(
    state: &ApiState,
    merchant: MerchantId,
    headers: &HeaderMap,
) -> Result<Option<CustomerId>, Problem> {
    match sessions::customer(state, merchant, headers).await {
        Err(problem) if problem.kind() == Kind::UNAVAILABLE => Ok(None),
        other => other,
    }
}

/// Whether the request carries the order's valid token.
fn opens(order: &Order, headers: &HeaderMap, now: Timestamp) -> bool {
    let Some((token, known)) = bearer_token(headers, &HEADER, TokenKind::Order).zip(order.token) else {
        return false;
    };
    bool::from(token.hash().ct_eq(&known.hash)) && now < known.expires_at
}
