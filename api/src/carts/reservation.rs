//! Stock reserved for a cart while its customer checks out, where the merchant has switched that on.
//!
//! Guarantees: what is reserved are the items of the cart as they are: any change of them, and a merge, gives the units
//! up first. The order of the cart takes the units over; a rejected order leaves them to the cart. A crash between the
//! order store and the session store leaves units that the cart does not tell of: they end with their time, and the
//! cart's order takes them over all the same. Does not decide who may reserve, nor for how long: see
//! [`store::reservations`].

use std::time::Duration;

use base::{Timestamp, time::later};
use store::{
    orders::{NewLine, Refusal},
    reservations::{NewReservation, ReserveOutcome},
};

use super::{Cart, CartItem, CartRef, TRIES_MAX, busy};
use crate::problem::{Kind, Problem, Result};

/// The end of an attempt to reserve that is no failure.
pub(crate) enum CartReserved {
    /// The cart, with the time when its reservation ends.
    Reserved(Box<Cart>),
    /// Nothing changed; the lines are the items of the cart.
    Refused(Vec<Refusal>),
}

impl CartRef<'_> {
    /// Reserves the items for this time, or for what is left of it where they were reserved before.
    pub(crate) async fn reserve(&self, span: Duration) -> Result<CartReserved> {
        for _ in 0..TRIES_MAX {
            let (mut cart, version) = self.load().await?;
            if let Err(closed) = self.expect_open(&cart).await {
                // An order that was placed meanwhile has taken over what it found, and an ordered cart holds nothing.
                if cart.order().is_some() {
                    self.release_units(&cart).await?;
                }
                return Err(closed);
            }
            match self.reserve_units(&cart, span).await? {
                ReserveOutcome::Reserved { until } => cart.reserved_until = Some(until),
                ReserveOutcome::Refused(refusals) => return Ok(CartReserved::Refused(refusals)),
            }
            if self.save(&mut cart, Some(version)).await?.is_some() {
                return Ok(CartReserved::Reserved(Box::new(cart)));
            }
        }
        Err(busy())
    }

    async fn reserve_units(&self, cart: &Cart, span: Duration) -> Result<ReserveOutcome> {
        let Some(currency) = cart.currency.filter(|_| !cart.items.is_empty()) else {
            return Err(Problem::new(Kind::CART_EMPTY, "put something into it first"));
        };
        let at = self.state.ambient.now();
        let reservation = NewReservation {
            merchant: self.merchant,
            cart: self.id,
            currency,
            lines: cart.items.iter().map(CartItem::line).collect(),
            expires_at: later(at, span),
            at,
        };
        let reserved = self.state.orders.reserve_cart(reservation).await;
        self.stock_changed(cart).await;
        Ok(reserved?)
    }

    /// Gives up what the cart is known to have reserved. The caller writes the cart afterwards.
    pub(crate) async fn drop_reservation(&self, cart: &mut Cart) -> Result<()> {
        if cart.reserved_until.take().is_some() { self.release_units(cart).await } else { Ok(()) }
    }

    async fn release_units(&self, cart: &Cart) -> Result<()> {
        let at = self.state.ambient.now();
        let released = self.state.orders.release_cart(self.merchant, self.id, at).await;
        self.stock_changed(cart).await;
        released?;
        Ok(())
    }

    async fn stock_changed(&self, cart: &Cart) {
        let skus: Vec<&str> = cart.items.iter().map(|item| item.sku.as_str()).collect();
        self.state.catalog.stock_changed(self.merchant, &skus).await;
    }
}

impl CartItem {
    /// The line of an order.
    pub(crate) fn line(&self) -> NewLine {
        NewLine { sku: self.sku.clone(), quantity: self.quantity }
    }
}

impl Cart {
    /// When the reservation of its items ends; `None` without one that still runs.
    pub(crate) fn reserved_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.reserved_until.filter(|until| *until > now)
    }
}
