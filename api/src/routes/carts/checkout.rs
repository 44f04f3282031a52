//! Checkout: `POST /v1/carts/{id}/checkout` turns a cart into an order, at most once.
//!
//! The steps, and the state that a crash after each of them leaves:
//! 1. The attempt is written into the cart, with the id of its future order: the cart is held for a moment.
//! 2. The order is placed under that id and an idempotency key derived from the cart's id: the next attempt, whenever
//!    it comes, finds the order by the id and closes the cart over it. If the session store has lost step 1, the key
//!    still prevents a second order for a day.
//! 3. The cart is closed.
//!
//! The first response is returned again to the attempt that placed the order, in the session of the cart's customer,
//! and to the merchant. For others the cart is closed, and the order is not named. While an attempt is in flight other
//! attempts are told to wait, so it is always known which attempt placed the order.

use std::{net::IpAddr, ops::ControlFlow};

use axum::{Extension, extract::State, response::Response};
use base::{TraceContext, ids::timestamp_of};
use http::HeaderMap;
use sha2::{Digest, Sha256};
use store::{
    checkout::CheckoutSettings,
    domain::{Address, Currency, Customer, Order, OrderId, Pricing},
    merchants::KeyRecord,
    orders::{IdempotencyKey, NewLine, NewOrder, PlaceOutcome},
};

use super::request::CartCheckout;
use crate::{
    card_testing::{CardAttempt, CardCaller},
    carts::{self, Cart, CartItem, CartRef},
    input::{Body, PathText, parse_id},
    limits::{CheckoutCaller, with_rate},
    order_access::IssuedToken,
    pricing::{self, PricingOutcome, ToPrice},
    problem::{FieldError, Kind, Problem},
    routes::orders::place::{accepted, in_flight, key_reused, refused, replayed},
    sessions::{self, Owner},
    state::ApiState,
    view::OrderView,
    waiting_room,
};

/// Order a cart
///
/// As `POST /v1/orders`, with the cart's products at their current prices; the cart is then closed. A repeated request
/// gets the first response again, with `Idempotent-Replayed: true` and a fresh token in place of the one before; so
/// does any other request in the session of the cart's customer or with a secret key. For all others the cart is
/// closed.
#[utoipa::path(
    post, path = "/v1/carts/{id}/checkout", tag = "carts",
    params(
        ("id" = String, Path, description = "`cart_…`"),
        ("Idempotency-Key" = String, Header, description = "1 to 255 visible ASCII characters, bare or quoted"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
        ("Orderworks-Device" = Option<String>, Header, description = "Id of the device, 16 to 64 of `A-Za-z0-9-_`"),
        ("Orderworks-Proof" = Option<String>, Header, description = "Proof of work, where it was asked for"),
        ("Orderworks-Place" = Option<String>, Header, description = "`owq_…`, an admitted place, in sale mode"),
    ),
    request_body = CartCheckout,
    responses(
        (status = 202, description = "Accepted", body = OrderView, headers(
            ("Location" = String, description = "The order"),
            ("Orderworks-Order-Token" = String, description = "`owt_…`: opens the whole order; shown this once"),
            ("Idempotent-Replayed" = String, description = "`true` on a repetition"),
        )),
        (status = 409, description = "Out of stock, another total than expected, ordered, or another checkout in flight"),
        (status = 422, description = "Not valid, empty, a card number, or the key was used with another body"),
        (status = 429, description = "Too many requests, a proof of work is required, or the shopper has to wait", headers(
            ("Orderworks-Proof-Bits" = u32, description = "Zero bits that the proof has to have, where one is required"),
        )),
        (status = 503, description = "Orders wait for too long, or a server behind the API cannot be reached"),
        (status = "default", description = "Any other problem"),
    ),
)]
pub(super) async fn checkout(
    State(state): State<ApiState>,
    caller: CheckoutCaller,
    PathText(id): PathText,
    Extension(trace): Extension<TraceContext>,
    headers: HeaderMap,
    body: Result<Body<CartCheckout>, Problem>,
) -> Result<Response, Problem> {
    let (admitted, rate) = caller.admit(&state, &headers, body).await?;
    let answer = async {
        let place = CartRef::of(&state, &admitted.key, &headers, parse_id(&id, "cart")?).await?;
        let IdempotencyKey { key, fingerprint } = admitted.idempotency;
        let source = Source { record: &admitted.key, address: admitted.address, headers: &headers };
        let settings = state.checkout_settings(place.merchant).await?;
        let attempt = Attempt { place, source, key, fingerprint, settings };
        attempt.make(admitted.body, trace).await
    };
    Ok(with_rate(rate, answer.await))
}

struct Attempt<'a> {
    place: CartRef<'a>,
    source: Source<'a>,
    key: String,
    fingerprint: [u8; 32],
    settings: CheckoutSettings,
}

/// Where an attempt comes from.
struct Source<'a> {
    record: &'a KeyRecord,
    address: IpAddr,
    headers: &'a HeaderMap,
}

impl Attempt<'_> {
    async fn make(&self, mut request: CartCheckout, trace: TraceContext) -> Result<Response, Problem> {
        let (state, merchant) = (self.place.state, self.place.merchant);
        let customer = match (request.customer.take(), self.place.customer) {
            (Some(named), _) => named.into(),
            (None, Some(customer)) => sessions::account(state, Owner { merchant, customer }).await?.customer,
            (None, None) => {
                let detail = "this field is required unless the customer is signed in";
                return Err(Problem::invalid(vec![FieldError::new("/customer", "required", detail)]));
            }
        };
        let placement = state.placements.begin(merchant, &state.ambient);
        match self.begin(placement.id).await? {
            ControlFlow::Break(answer) => Ok(answer),
            ControlFlow::Continue(cart) => {
                let address = request.shipping_address.take().map(Address::from);
                let (pricing, card) = match self.ready(&cart, &request, address.as_ref(), &trace).await {
                    Ok(ready) => ready,
                    Err(refused) => {
                        self.place.release(placement.id, &self.key).await;
                        return Err(refused);
                    }
                };
                let token = IssuedToken::draw(state)?;
                let order = NewOrder {
                    token: Some(token.stored),
                    shipping_address: address,
                    pricing,
                    ..self.order(&cart, request, customer, trace)?
                };
                self.place(order, card, token, cart).await
            }
        }
    }

    /// Whether the order may be placed, what the shop's hooks decide about the cart, and whether the card may be tried:
    /// hooks are not asked for an order that has to wait, and no card counts for one that they refuse.
    async fn ready(
        &self,
        cart: &Cart,
        request: &CartCheckout,
        address: Option<&Address>,
        trace: &TraceContext,
    ) -> Result<(Option<Pricing>, CardAttempt), Problem> {
        self.admit().await?;
        let pricing = self.price(cart, address, trace).await?;
        Ok((pricing, self.admit_card(&request.payment_method).await?))
    }

    async fn price(
        &self,
        cart: &Cart,
        address: Option<&Address>,
        trace: &TraceContext,
    ) -> Result<Option<Pricing>, Problem> {
        if self.settings.hooks.is_empty() {
            return Ok(None);
        }
        let (_, currency) = held(cart)?;
        let lines: Vec<NewLine> = cart.items.iter().map(CartItem::line).collect();
        let (merchant, lines, trace) = (self.place.merchant, &lines[..], Some(trace));
        let wanted = ToPrice { merchant, currency, lines, address, trace };
        match pricing::price(self.place.state, &self.settings, wanted).await? {
            PricingOutcome::Priced(pricing) => Ok(Some(pricing)),
            PricingOutcome::Refused(refusals) => Err(refused(&refusals, &[])),
        }
    }

    /// Whether the order may be placed now, by the merchant's waiting room and the backlog.
    async fn admit(&self) -> Result<(), Problem> {
        let Source { record: key, headers, .. } = self.source;
        let (recorded_as, made_at) = (self.idempotency().key, timestamp_of(self.place.id.0));
        waiting_room::admit(self.place.state, key, headers, &recorded_as, made_at).await
    }

    /// Whether the card may be tried. The customer counts as signed in by the session of this request.
    async fn admit_card(&self, payment_method: &str) -> Result<CardAttempt, Problem> {
        let Source { record: key, address, headers } = self.source;
        let account = self.place.customer;
        let caller = CardCaller { key, address, account, payment_method, headers };
        self.place.state.card_testing.admit(caller).await
    }

    /// Writes the attempt into the cart and returns the cart; breaks with the response of an earlier attempt that has
    /// placed the order.
    async fn begin(&self, id: OrderId) -> Result<ControlFlow<Response, Cart>, Problem> {
        let (state, place) = (self.place.state, &self.place);
        for _ in 0..carts::TRIES_MAX {
            let (mut cart, version) = place.load().await?;
            if let Some(answer) = self.known(&cart).await? {
                return Ok(ControlFlow::Break(answer));
            }
            if cart.items.is_empty() {
                return Err(Problem::new(Kind::CART_EMPTY, "put something into it first"));
            }
            cart.customer = cart.customer.or(place.customer);
            cart.hold(id, &self.key, self.fingerprint, state.ambient.now());
            if place.save(&mut cart, Some(version)).await?.is_some() {
                return Ok(ControlFlow::Continue(cart));
            }
        }
        Err(carts::busy())
    }

    /// The response of an earlier attempt, if it placed the order.
    async fn known(&self, cart: &Cart) -> Result<Option<Response>, Problem> {
        let Some(begun) = &cart.checkout else { return Ok(None) };
        let is_same = begun.key == self.key;
        if is_same && begun.fingerprint != self.fingerprint {
            return Err(key_reused());
        }
        let (state, place) = (self.place.state, &self.place);
        match state.orders.order(place.merchant, begun.order).await? {
            Some(order) => {
                if !begun.placed {
                    place.close(order.id, Some((&begun.key, begun.fingerprint))).await;
                }
                self.answer_of_then(cart, order, is_same).await.map(Some)
            }
            // The cart was kept longer than its order, which was dropped with its month's partition.
            None if begun.placed => Err(place.closed(cart, begun.order)),
            None if !is_same && state.ambient.now() < begun.held_until => Err(carts::held()),
            None => Ok(None),
        }
    }

    /// The response that `order` was first given, for callers who may have it.
    async fn answer_of_then(&self, cart: &Cart, order: Order, is_same: bool) -> Result<Response, Problem> {
        let (state, place, id) = (self.place.state, &self.place, order.id);
        // Compared with the order's customer: this attempt may just have made its own customer the cart's owner.
        if !is_same && !place.is_entitled(order.account) {
            return Err(place.closed(cart, id));
        }
        let recorded = state.orders.recorded_answer(place.merchant, &self.idempotency().key).await?;
        // Told by the order where the answer is kept no more, or holds personal data that were erased since.
        let recorded = recorded.filter(|_| !order.customer.is_erased());
        let body = recorded.unwrap_or_else(|| OrderView::of_new(&order));
        replayed(state, place.merchant, id, body, IssuedToken::draw(state)?).await
    }

    fn order(
        &self,
        cart: &Cart,
        request: CartCheckout,
        customer: Customer,
        trace: TraceContext,
    ) -> Result<NewOrder, Problem> {
        let (id, currency) = held(cart)?;
        Ok(NewOrder {
            id,
            merchant: self.place.merchant,
            customer,
            account: cart.customer,
            token: None,
            currency,
            lines: cart.items.iter().map(CartItem::line).collect(),
            reservation: self.may_have_reserved(cart).then_some(self.place.id),
            pricing: None,
            expected_total_minor: request.expected_total_minor,
            payment_method: request.payment_method,
            shipping_address: None,
            reference: request.reference,
            idempotency: self.idempotency(),
            trace: Some(trace),
            estimated_fulfilment_at: self.place.state.admission.estimate(),
            at: self.place.state.ambient.now(),
        })
    }

    /// Whether the cart may hold a reservation: a crash may have left one that it does not tell of, and the shop may
    /// have switched them off meanwhile.
    fn may_have_reserved(&self, cart: &Cart) -> bool {
        cart.reserved_until.is_some() || self.settings.reserves_for().is_some()
    }

    /// One key for all attempts: the first order placed under it is the only one. A client's key cannot equal it,
    /// because client keys hold no blanks. The fingerprint covers the attempt's own key, so that no attempt is answered
    /// with another attempt's request.
    fn idempotency(&self) -> IdempotencyKey {
        let fingerprint =
            Sha256::new().chain_update(self.fingerprint).chain_update(&self.key).finalize().into();
        IdempotencyKey { key: format!("checkout of {}", self.place.id), fingerprint }
    }

    async fn place(
        &self,
        order: NewOrder,
        card: CardAttempt,
        token: IssuedToken,
        cart: Cart,
    ) -> Result<Response, Problem> {
        let (state, place, id) = (self.place.state, &self.place, order.id);
        let this = Some((self.key.as_str(), self.fingerprint));
        // Without an answer the cart stays held, and the card counts as tried: the order may have been placed.
        let placed = state.orders.place_order(order).await?;
        state.card_testing.settle(card, &placed).await;
        match placed {
            PlaceOutcome::Placed { order, body } => {
                state.catalog.sold(&order);
                state.admission.note_placed();
                place.close(order.id, this).await;
                Ok(accepted(order.id, body, Some(token), false))
            }
            PlaceOutcome::Replayed { order, body } => {
                place.close(order, this).await;
                replayed(state, place.merchant, order, body, token).await
            }
            PlaceOutcome::InFlight => {
                // The request in flight still holds the cart.
                place.release(id, &self.key).await;
                Err(in_flight())
            }
            PlaceOutcome::KeyReused { order } => {
                place.close(order, None).await;
                match state.orders.order(place.merchant, order).await? {
                    Some(order) => self.answer_of_then(&cart, order, false).await,
                    None => Err(place.closed(&cart, order)),
                }
            }
            PlaceOutcome::Refused(refusals) => {
                place.release(id, &self.key).await;
                // The lines of the order are the cart's items.
                Err(refused(&refusals, &[]))
            }
        }
    }
}

/// Order id and currency, which every cart has that was just held and is not empty.
fn held(cart: &Cart) -> Result<(OrderId, Currency), Problem> {
    let begun = cart.checkout.as_ref().zip(cart.currency);
    begun.map(|(checkout, currency)| (checkout.order, currency)).ok_or_else(|| {
        tracing::error!("cart with products has no currency");
        Problem::logged()
    })
}
