//! `POST /v1/carts/{id}/checkout`: a cart becomes an order, at most once.
//!
//! The steps, and what a crash after each of them leaves:
//! 1. the attempt is written into the cart, with the id its order will have: the cart is held for a moment;
//! 2. the order is placed under that id and a key made of the cart's id: the next attempt finds it by the id, whenever it
//!    comes, and closes the cart over it. Should the session store have lost step 1, the key still stands for a day;
//! 3. the cart is closed.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use sha2::{Digest, Sha256};
use store::{
    domain::{Currency, Customer, CustomerId, OrderId},
    orders::{IdempotencyKey, NewLine, NewOrder, Placement},
};

use super::request::{CheckoutRequest, CheckoutSchema};
use crate::{
    carts::{self, Cart, CartItem, Place},
    edge::Trace,
    input::{Body, required_idempotency_key},
    limits::Admitted,
    problem::{FieldError, Kind, Problem, ProblemBody},
    routes::{
        PathText,
        orders::place::{accepted, in_flight, key_reused, refused},
        parse_id,
    },
    sessions,
    state::ApiState,
    view::{OrderView, as_placed},
};

/// Order a cart
///
/// As `POST /v1/orders`, with the cart's products at the prices of now. The cart is closed by it; ordering it again, under
/// whatever key, answers what was answered first, with `Idempotent-Replayed: true`.
#[utoipa::path(
    post, path = "/v1/carts/{id}/checkout", tag = "carts",
    params(
        ("id" = String, Path, description = "`cart_…`"),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, bare or quoted"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
    ),
    request_body = CheckoutSchema,
    responses(
        (status = 202, description = "Accepted", body = OrderView, headers(
            ("Location" = String, description = "The order"),
            ("Idempotent-Replayed" = String, description = "`true` on a repetition"),
        )),
        (status = 409, description = "Out of stock, or another checkout of the cart is still being worked on",
            body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Not valid, empty, a card number, or the key was used with another body",
            body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = ProblemBody,
            content_type = "application/problem+json"),
        (status = "default", description = "Any other problem", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
pub(super) async fn checkout(
    State(state): State<ApiState>,
    admitted: Admitted,
    PathText(id): PathText,
    trace: Trace,
    headers: HeaderMap,
    body: Result<Body<CheckoutRequest>, Problem>,
) -> Response {
    let rate = admitted.rate.headers();
    let answer = async {
        let key = required_idempotency_key(&headers)?;
        let Body { value: request, fingerprint } = body?;
        let place = Place { merchant: admitted.key.merchant, id: parse_id(&id, "cart")? };
        let attempt = Attempt { state: &state, place, key, fingerprint };
        attempt.make(request, trace, &headers).await
    };
    (rate, answer.await).into_response()
}

/// One request to order a cart.
struct Attempt<'a> {
    state: &'a ApiState,
    place: Place,
    key: String,
    fingerprint: [u8; 32],
}

/// What became of the first step.
enum Begun {
    /// There is an order already.
    Answered(Response),
    /// The cart with the attempt written into it, and that version.
    Held(Cart, i64),
}

impl Attempt<'_> {
    async fn make(
        &self,
        request: CheckoutRequest,
        trace: Trace,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        let state = self.state;
        let signed_in = sessions::customer(state, self.place.merchant, headers).await?;
        let customer = match (&request.customer, signed_in) {
            (Some(named), _) => named.clone(),
            (None, Some(id)) => sessions::account(state, self.place.merchant, id).await?.customer,
            (None, None) => return Err(nobody()),
        };
        match self.begin(signed_in).await? {
            Begun::Answered(answer) => Ok(answer),
            Begun::Held(cart, version) => {
                let order = self.order(&cart, request, customer, trace)?;
                self.place(order, cart, version).await
            }
        }
    }

    /// Writes the attempt into the cart, unless an earlier one has an answer already.
    async fn begin(&self, signed_in: Option<CustomerId>) -> Result<Begun, Problem> {
        let (state, place) = (self.state, &self.place);
        for _ in 0..carts::TRIES_MAX {
            let (mut cart, version) = carts::load(state, place).await?;
            if let Some(answer) = self.known(&cart).await? {
                return Ok(Begun::Answered(answer));
            }
            if cart.items.is_empty() {
                return Err(Problem::new(Kind::CART_EMPTY, "put something into it first"));
            }
            cart.customer = signed_in.or(cart.customer);
            cart.hold(OrderId::fresh(&state.ambient), &self.key, self.fingerprint, state.ambient.now());
            if let Some(version) = carts::save(state, place, &mut cart, Some(version)).await? {
                return Ok(Begun::Held(cart, version));
            }
        }
        Err(carts::busy())
    }

    /// The answer of an earlier attempt, if it placed the order.
    async fn known(&self, cart: &Cart) -> Result<Option<Response>, Problem> {
        let Some(begun) = &cart.checkout else { return Ok(None) };
        if begun.key == self.key && begun.fingerprint != self.fingerprint {
            return Err(key_reused());
        }
        match self.state.orders.order(self.place.merchant, begun.order).await? {
            Some(order) => {
                if !begun.placed {
                    carts::close(self.state, &self.place, order.id).await;
                }
                let body = OrderView::render_new(&as_placed(order));
                Ok(Some(accepted(begun.order, body, true)))
            }
            // Kept longer than its order, which was dropped with its month.
            None if begun.placed => {
                Err(Problem::new(Kind::CART_CLOSED, format!("it has become order {}", begun.order)))
            }
            None => Ok(None),
        }
    }

    fn order(
        &self,
        cart: &Cart,
        request: CheckoutRequest,
        customer: Customer,
        Trace(trace): Trace,
    ) -> Result<NewOrder, Problem> {
        let (id, currency) = held(cart)?;
        let line = |item: &CartItem| NewLine { sku: item.sku.clone(), quantity: item.quantity };
        Ok(NewOrder {
            id,
            merchant: self.place.merchant,
            customer,
            currency,
            lines: cart.items.iter().map(line).collect(),
            payment_method: request.payment_method,
            shipping_address: request.shipping_address,
            reference: request.reference,
            idempotency: key_of(&self.place),
            render: OrderView::render_new,
            trace: Some(trace),
            at: self.state.ambient.now(),
        })
    }

    async fn place(&self, order: NewOrder, cart: Cart, version: i64) -> Result<Response, Problem> {
        let (state, place) = (self.state, &self.place);
        // Without an answer the cart stays held: the order may have been placed.
        match state.orders.place_order(order).await? {
            Placement::Placed { order, body } => {
                state.catalog.sold(&order);
                carts::close(state, place, order.id).await;
                Ok(accepted(order.id, body, false))
            }
            Placement::Replayed { order, body } => {
                carts::close(state, place, order).await;
                Ok(accepted(order, body, true))
            }
            Placement::InFlight => Err(in_flight()),
            Placement::KeyReused => Err(key_reused()),
            Placement::Refused(refusals) => {
                carts::release(state, place, cart, version).await;
                // The lines of the order are the items of the cart.
                Err(refused(&refusals, &[]))
            }
        }
    }
}

/// What every cart has that was just held and is not empty.
fn held(cart: &Cart) -> Result<(OrderId, Currency), Problem> {
    let begun = cart.checkout.as_ref().zip(cart.currency);
    begun.map(|(checkout, currency)| (checkout.order, currency)).ok_or_else(|| {
        tracing::error!("a cart with products has no currency");
        Problem::logged()
    })
}

/// The same for every attempt, whatever it asks: the first to be placed answers all. No client's key can be it, for
/// theirs hold no blanks.
fn key_of(place: &Place) -> IdempotencyKey {
    let key = format!("checkout of {}", place.id);
    IdempotencyKey { fingerprint: Sha256::digest(&key).into(), key }
}

fn nobody() -> Problem {
    let detail = "this field is required unless the customer is signed in";
    Problem::invalid(vec![FieldError::new("/customer", "required", detail)])
}
