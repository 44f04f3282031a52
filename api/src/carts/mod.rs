//! Carts in the session store: lines of skus and quantities, shown at the catalog's current prices.
//!
//! Guarantees: a cart belongs to one merchant, whose id is part of its key. A change is written by compare-and-swap on
//! the version that was read, and repeated on a conflict. A cart becomes one order at most, see [`Checkout`]. A cart
//! with a customer is found in that customer's session and with a secret key only. A customer takes over an anonymous
//! cart under a new id, so an id that others know finds nothing afterwards. A change gives up what the cart has
//! reserved, see `reservation`.

mod problems;
mod reservation;

use std::time::Duration;

use base::{Timestamp, time::later};
use cache::SessionKey;
use http::HeaderMap;
use serde::{Deserialize, Serialize, Serializer};
use store::{
    domain::{CartId, Currency, CustomerId, MerchantId, OrderId},
    merchants::{KeyRecord, KeyScope},
};

use crate::{
    problem::{Kind, Problem, Result},
    sessions::{self, Owner, decode, encode},
    state::ApiState,
};

pub(crate) use problems::{busy, held};
pub(crate) use reservation::CartReserved;

/// Different products in one cart at most.
pub(crate) const LINES_MAX: usize = 100;
/// Lifetime from the last change.
const TTL: Duration = Duration::from_hours(14 * 24);
/// Lifetime of a cart that was never changed: most of them are abandoned.
const NEW_TTL: Duration = Duration::from_hours(24);
/// Attempts at most to write a change. An attempt fails only when another request has written the cart meanwhile.
pub(crate) const TRIES_MAX: u32 = 10;
/// Time for which an unfinished checkout blocks changes: longer than a request may take.
const HOLD: Duration = Duration::from_secs(40);
/// Time for which a cart that was taken over is kept for requests that have read it before.
const MOVED_TTL: Duration = Duration::from_mins(1);

/// Key of a cart, and the caller who asks for it.
#[derive(Clone, Copy)]
pub(crate) struct CartRef<'a> {
    pub(crate) state: &'a ApiState,
    pub(crate) merchant: MerchantId,
    pub(crate) id: CartId,
    /// The customer who is signed in.
    pub(crate) customer: Option<CustomerId>,
    /// Whether the caller has the secret key, which gives access to all carts of the merchant.
    is_merchant: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cart {
    /// `None` until the first product sets it.
    pub(crate) currency: Option<Currency>,
    /// In the order of adding, each sku once.
    pub(crate) items: Vec<CartItem>,
    /// The owner: the first customer who changed the cart while signed in.
    pub(crate) customer: Option<CustomerId>,
    pub(crate) checkout: Option<Checkout>,
    /// Whether the cart was taken over under another id, or is being merged; it is not found any more.
    #[serde(default)]
    pub(crate) moved: bool,
    /// The customer's cart into which this one is being merged.
    #[serde(default)]
    pub(crate) merging_into: Option<CartId>,
    /// The carts merged into this one, the latest ones.
    #[serde(default)]
    pub(crate) merged: Vec<CartId>,
    /// When the reservation of the items ends; `None` where nothing is known to be reserved.
    #[serde(default)]
    pub(crate) reserved_until: Option<Timestamp>,
    pub(crate) expires_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct CartItem {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
}

/// Stored as `["sku", 1]` without member names, which is shorter; both forms are read.
impl Serialize for CartItem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.sku, self.quantity).serialize(serializer)
    }
}

/// A checkout that has begun. Written before the order is placed: after a crash the next request finds the order by
/// this id, or learns that there is none. Removed again when the order is rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkout {
    pub(crate) order: OrderId,
    /// Until then the cart cannot be changed: its order may be in flight.
    pub(crate) held_until: Timestamp,
    /// The client's idempotency key; empty where the session store lost it. `fingerprint` is that of its request.
    pub(crate) key: String,
    pub(crate) fingerprint: [u8; 32],
    /// Whether the order is known to have been placed.
    pub(crate) placed: bool,
    /// Requests of this checkout that have no answer yet.
    #[serde(default)]
    in_flight: u32,
}

impl<'a> CartRef<'a> {
    /// Reads the session of the request, if it names one; an ended session is a 401.
    pub(crate) async fn of(
        state: &'a ApiState,
        key: &KeyRecord,
        headers: &HeaderMap,
        id: CartId,
    ) -> Result<Self> {
        let customer = sessions::customer(state, key.merchant, headers).await?;
        Ok(Self { state, merchant: key.merchant, id, customer, is_merchant: key.scope == KeyScope::Secret })
    }

    /// For a customer whose session has been read; the id is that of no cart.
    pub(crate) fn of_owner(state: &'a ApiState, key: &KeyRecord, owner: Owner) -> Self {
        let (id, customer) = (CartId::fresh(&state.ambient), Some(owner.customer));
        Self { state, merchant: owner.merchant, id, customer, is_merchant: key.scope == KeyScope::Secret }
    }

    /// Whether the caller may see what belongs to `owner`. Without an owner only the merchant may.
    pub(crate) fn is_entitled(&self, owner: Option<CustomerId>) -> bool {
        self.is_merchant || (owner.is_some() && owner == self.customer)
    }

    pub(crate) fn may_use(&self, cart: &Cart) -> bool {
        !cart.moved && (cart.customer.is_none() || self.is_entitled(cart.customer))
    }

    /// The caller's reference to another cart.
    pub(crate) fn with_id(&self, id: CartId) -> Self {
        Self { id, ..*self }
    }

    pub(crate) fn key(&self) -> SessionKey {
        let Self { merchant, id, .. } = self;
        SessionKey::new("cart", format_args!("{merchant}:{id}"))
    }

    pub(crate) async fn create(&self, cart: &mut Cart) -> Result<()> {
        if self.keep(cart, None, NEW_TTL).await?.is_some() { Ok(()) } else { Err(busy()) }
    }

    /// The cart and its version. Another customer's cart is a 404.
    pub(crate) async fn load(&self) -> Result<(Cart, i64)> {
        self.find().await?.ok_or_else(|| Problem::not_found("cart"))
    }

    /// The cart and its version; `None` where there is no such cart for the caller.
    pub(crate) async fn find(&self) -> Result<Option<(Cart, i64)>> {
        Ok(self.find_any().await?.filter(|(cart, _)| self.may_use(cart)))
    }

    /// The same for every caller.
    pub(crate) async fn find_any(&self) -> Result<Option<(Cart, i64)>> {
        let session = self.state.sessions.get(&self.key()).await?;
        session.map(|session| Ok((decode(&session.data)?, session.version))).transpose()
    }

    /// Writes the cart over the version it was made from and renews its lifetime. Returns the new version, or `None`
    /// when another request has written the cart meanwhile.
    pub(crate) async fn save(&self, cart: &mut Cart, expected: Option<i64>) -> Result<Option<i64>> {
        self.keep(cart, expected, TTL).await
    }

    async fn keep(&self, cart: &mut Cart, expected: Option<i64>, ttl: Duration) -> Result<Option<i64>> {
        cart.expires_at = later(self.state.ambient.now(), ttl);
        Ok(self.state.sessions.replace(&self.key(), expected, &encode(cart)?, ttl).await?)
    }

    /// Changes an open cart and makes the signed-in customer its owner. Returns the cart under its key, which is new if
    /// the cart was taken over.
    pub(crate) async fn change(&self, edit: impl Fn(&mut Cart) -> Result<()>) -> Result<(Self, Cart)> {
        for _ in 0..TRIES_MAX {
            let (mut cart, version) = self.load().await?;
            self.expect_open(&cart).await?;
            self.drop_reservation(&mut cart).await?;
            edit(&mut cart)?;
            let is_taken_over = cart.customer.is_none() && self.customer.is_some();
            let written = if is_taken_over {
                self.take_over(&mut cart, version).await?
            } else {
                self.save(&mut cart, Some(version)).await?.map(|_| *self)
            };
            if let Some(place) = written {
                return Ok((place, cart));
            }
        }
        Err(busy())
    }

    /// Stores the changed cart under a new id, which no other client knows, and retires the old one; `None` when
    /// another request has written the old one meanwhile. A crash in between leaves the old cart as it was, and a copy
    /// that no client knows.
    async fn take_over(&self, cart: &mut Cart, version: i64) -> Result<Option<Self>> {
        cart.customer = self.customer;
        let taken = Self { id: CartId::fresh(&self.state.ambient), ..*self };
        // The cart was changed, so it gets the lifetime of changed carts.
        if taken.save(cart, None).await?.is_none() {
            return Err(busy());
        }
        let gone = encode(&Cart { moved: true, ..Cart::new(None, None) })?;
        if self.state.sessions.replace(&self.key(), Some(version), &gone, MOVED_TTL).await?.is_some() {
            return Ok(Some(taken));
        }
        self.state.sessions.delete(&taken.key()).await?;
        Ok(None)
    }

    /// Closes the cart over its order. The order stands even if this fails: the next checkout finds it.
    pub(crate) async fn close(&self, order: OrderId, attempt: Option<(&str, [u8; 32])>) {
        let closing = async {
            for _ in 0..TRIES_MAX {
                let (mut cart, version) = self.load().await?;
                cart.close(order, attempt, self.state.ambient.now());
                if self.save(&mut cart, Some(version)).await?.is_some() {
                    return Ok(());
                }
            }
            Err(busy())
        };
        if closing.await.is_err() {
            tracing::warn!(order.id = %order, "cart not closed after its order was placed");
        }
    }

    /// Ends a rejected request of the checkout of `order`; the last one opens the cart again.
    pub(crate) async fn release(&self, order: OrderId, key: &str) {
        let releasing = async {
            for _ in 0..TRIES_MAX {
                let (mut cart, version) = self.load().await?;
                if !cart.release(order, key) || self.save(&mut cart, Some(version)).await?.is_some() {
                    return Ok(());
                }
            }
            Err(busy())
        };
        if releasing.await.is_err() {
            tracing::warn!("cart not released after a rejected checkout");
        }
    }

    /// Rejects changes of a cart that was ordered or is being ordered.
    pub(crate) async fn expect_open(&self, cart: &Cart) -> Result<()> {
        let Some(checkout) = &cart.checkout else { return Ok(()) };
        if checkout.placed {
            return Err(self.closed(cart, checkout.order));
        }
        if self.state.ambient.now() < checkout.held_until {
            return Err(held());
        }
        // The attempt that held the cart did not finish; it may have placed the order nevertheless.
        let order = self.state.orders.order(self.merchant, checkout.order).await?;
        if order.is_some() { Err(self.closed(cart, checkout.order)) } else { Ok(()) }
    }

    /// The problem for an ordered cart. Names the order only to callers who may see it.
    pub(crate) fn closed(&self, cart: &Cart, order: OrderId) -> Problem {
        let detail = if self.is_entitled(cart.customer) {
            format!("it has become order {order}")
        } else {
            "it was ordered; make a new one".to_owned()
        };
        Problem::new(Kind::CART_CLOSED, detail)
    }
}

impl Cart {
    pub(crate) fn new(currency: Option<Currency>, customer: Option<CustomerId>) -> Self {
        Self {
            currency,
            items: Vec::new(),
            customer,
            checkout: None,
            moved: false,
            merging_into: None,
            merged: Vec::new(),
            reserved_until: None,
            expires_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// The order that this cart has become.
    pub(crate) fn order(&self) -> Option<OrderId> {
        self.checkout.as_ref().filter(|checkout| checkout.placed).map(|checkout| checkout.order)
    }

    /// Sets the quantity of a product sold in `currency`.
    pub(crate) fn set(&mut self, sku: &str, quantity: u32, currency: Currency) -> Result<()> {
        let expected = *self.currency.get_or_insert(currency);
        if expected != currency {
            let detail = format!("the cart is in {expected}, the product is sold in {currency}");
            return Err(Problem::new(Kind::WRONG_CURRENCY, detail));
        }
        if let Some(item) = self.items.iter_mut().find(|item| item.sku == sku) {
            item.quantity = quantity;
            return Ok(());
        }
        if self.items.len() >= LINES_MAX {
            return Err(Problem::new(Kind::CART_FULL, format!("at most {LINES_MAX} different products")));
        }
        self.items.push(CartItem { sku: sku.to_owned(), quantity });
        Ok(())
    }

    pub(crate) fn remove(&mut self, sku: &str) {
        self.items.retain(|item| item.sku != sku);
    }

    /// Records a checkout under this key. The id of an order that may already be placed is kept.
    pub(crate) fn hold(&mut self, order: OrderId, key: &str, fingerprint: [u8; 32], now: Timestamp) {
        let begun = self.checkout.as_ref();
        // Requests that got no answer within the hold are not waited for.
        let others = begun.filter(|begun| now < begun.held_until).map_or(0, |begun| begun.in_flight);
        let order = begun.map_or(order, |begun| begun.order);
        let (held_until, key, in_flight) = (later(now, HOLD), key.to_owned(), others.saturating_add(1));
        self.checkout = Some(Checkout { order, held_until, key, fingerprint, placed: false, in_flight });
    }

    /// Ends a request of a checkout; false if the cart is not held by that checkout.
    fn release(&mut self, order: OrderId, key: &str) -> bool {
        let holds = |begun: &&mut Checkout| begun.order == order && begun.key == key && !begun.placed;
        let Some(begun) = self.checkout.as_mut().filter(holds) else { return false };
        begun.in_flight = begun.in_flight.saturating_sub(1);
        if begun.in_flight == 0 {
            self.checkout = None;
        }
        true
    }

    /// Records the order, and the attempt that placed it where that is known.
    fn close(&mut self, order: OrderId, attempt: Option<(&str, [u8; 32])>, now: Timestamp) {
        let (key, fingerprint) = attempt.unwrap_or_default();
        let key = key.to_owned();
        self.reserved_until = None;
        let held_until = self.checkout.as_ref().map_or(now, |begun| begun.held_until);
        self.checkout = Some(Checkout { order, held_until, key, fingerprint, placed: true, in_flight: 0 });
    }
}

#[cfg(test)]
mod tests;
