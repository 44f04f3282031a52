//! Access to the personal data of orders. With a publishable key, an order's id shows its state, amounts and lines. The
//! personal data are shown with a secret key, in the session of the customer who placed the order, or with the order's
//! token.
//!
//! Guarantees: a token is shown in the response that accepts an order and nowhere else; only its hash is stored. It
//! gives access to one order, until it expires, is revoked, or is replaced by the response to a repeated request. An id
//! alone gives no access to personal data. Who may see them may also follow the order, see [`OrderCaller`].

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use base::{Timestamp, time::later};
use http::{HeaderMap, HeaderName, HeaderValue, request};
use store::{
    domain::{CustomerId, EventKind, MerchantId, Order, OrderId, OrderToken},
    merchants::{KeyRecord, KeyScope},
    token::{Token, TokenKind},
};
use subtle::ConstantTimeEq;

use crate::{
    auth,
    input::parse_id,
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

/// A caller who follows or changes one order: its merchant, or a customer with a publishable key. What a customer reads
/// or changes counts against the read limits; the merchant's reads and writes against their own.
pub(crate) struct OrderCaller {
    pub(crate) key: KeyRecord,
    pub(crate) headers: HeaderMap,
    pub(crate) address: IpAddr,
}

impl FromRequestParts<ApiState> for OrderCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &ApiState) -> Result<Self, Problem> {
        let (key, address) = (auth::authenticate(parts, state).await?, state.client_ip(parts));
        let caller = Self { key, headers: parts.headers.clone(), address };
        if caller.is_customer() || parts.method.is_safe() {
            state.limiters.reads.take(&caller.key, address).await?;
        } else {
            state.limiters.take_write(&caller.key, address).await?;
        }
        Ok(caller)
    }
}

impl OrderCaller {
    pub(crate) fn is_customer(&self) -> bool {
        self.key.scope == KeyScope::Publishable
    }

    /// The order of this id. A customer has to prove access to it.
    pub(crate) async fn order(&self, state: &ApiState, id: &str) -> Result<Order, Problem> {
        self.order_by_id(state, parse_id(id, "order")?).await
    }

    /// Whether a request that was accepted still would be: its key is not revoked, and a customer's session or order
    /// token has not ended.
    pub(crate) async fn check_again(&self, state: &ApiState, order: OrderId) -> Result<(), Problem> {
        auth::key_of(&self.headers, self.address, state).await?;
        if self.is_customer() {
            self.order_by_id(state, order).await?;
        }
        Ok(())
    }

    async fn order_by_id(&self, state: &ApiState, id: OrderId) -> Result<Order, Problem> {
        let order = state.orders.order(self.key.merchant, id).await?;
        let order = order.ok_or_else(|| Problem::not_found("order"))?;
        if is_shown_whole(state, &self.key, &self.headers, &order).await? {
            return Ok(order);
        }
        let detail = "send the order's token as `Orderworks-Order-Token`, or its customer's session as \
                      `Orderworks-Session`; a secret key needs neither";
        Err(Problem::new(Kind::ORDER_ACCESS, detail))
    }

    /// Whether the caller is told of events of this kind. A customer is told of the order, its payment and its refunds,
    /// not of what the merchant has to deal with.
    pub(crate) fn is_told(&self, kind: EventKind) -> bool {
        use EventKind::{
            OrderCancelled, OrderFulfilled, OrderPaid, OrderPlaced, OrderRefunded, PaymentCaptured,
            PaymentFailed, PaymentRefunded,
        };
        let for_all = matches!(
            kind,
            OrderPlaced
                | OrderPaid
                | OrderFulfilled
                | OrderCancelled
                | OrderRefunded
                | PaymentCaptured
                | PaymentFailed
                | PaymentRefunded
        );
        for_all || !self.is_customer()
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
