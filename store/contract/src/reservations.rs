//! Reservations of carts at checkout: units that are kept for a cart for some minutes while its customer pays.
//!
//! Guarantees: a reservation takes all its units or none, in one transaction; reserved units are not sold to others;
//! the order of the cart takes them over in the transaction that places it, so they are never counted twice and never
//! free in between. Units of a reservation that ended are sold to others once it is released, and to its own cart until
//! then. Writes no events: `inventory.low` is told by orders. Read on in [`crate::checkout`], where a merchant switches
//! reservations on.

use async_trait::async_trait;
use base::Timestamp;

use crate::{
    domain::{CartId, Currency, MerchantId},
    error::Result,
    orders::{NewLine, Refusal},
};

/// A reservation to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReservation {
    pub merchant: MerchantId,
    pub cart: CartId,
    /// Must be that of every product.
    pub currency: Currency,
    /// At least one line, each sku once.
    pub lines: Vec<NewLine>,
    /// When it ends, unless the cart has one that has not ended yet: that time stays, so that units cannot be
    /// kept by asking again.
    pub expires_at: Timestamp,
    pub at: Timestamp,
}

/// Result of [`Reservations::reserve_cart`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReserveOutcome {
    /// Reserved until then, in place of what the cart had reserved before.
    Reserved { until: Timestamp },
    /// Rejected, nothing changed; every line that cannot be reserved is named.
    Refused(Vec<Refusal>),
}

/// A reservation that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndedReservation {
    pub expires_at: Timestamp,
    pub cart: CartId,
    pub merchant: MerchantId,
}

/// Stock reserved for carts.
#[async_trait]
pub trait Reservations: Send + Sync + 'static {
    /// Reserves all lines for a cart, in place of what it had reserved before.
    async fn reserve_cart(&self, reservation: NewReservation) -> Result<ReserveOutcome>;

    /// Releases what a cart has reserved; false when it has reserved nothing.
    async fn release_cart(&self, merchant: MerchantId, cart: CartId, at: Timestamp) -> Result<bool>;

    /// Reservations that end at `now` or earlier, oldest first, after this one, at most `limit`; fewer only at the end.
    async fn ended_reservations(
        &self,
        now: Timestamp,
        after: Option<EndedReservation>,
        limit: u32,
    ) -> Result<Vec<EndedReservation>>;

    /// Releases what a cart has reserved if that ends at `now` or earlier; false otherwise.
    async fn expire_reservation(&self, merchant: MerchantId, cart: CartId, now: Timestamp) -> Result<bool>;
}
