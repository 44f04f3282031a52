//! [`Reservations`] in memory: all checks come before the first write, so a rejection has nothing to undo.

use async_trait::async_trait;
use base::Timestamp;
use store::{
    domain::{CartId, MerchantId},
    error::StoreError,
    orders::NewLine,
    reservations::{EndedReservation, NewReservation, Reservations, ReserveOutcome},
    rules::{
        Damage,
        place_order::refusals,
        reservations::{end_of, exchanged, of_lines},
    },
};

use super::{
    MemoryOrders,
    place_order::{known, reservable},
    state::{OrdersState, ReservationRow},
};
use crate::some;

#[async_trait]
impl Reservations for MemoryOrders {
    async fn reserve_cart(&self, reservation: NewReservation) -> Result<ReserveOutcome, StoreError> {
        self.held.write("reserve_cart", move |state, _| reserve(state, &reservation)).await
    }

    async fn release_cart(
        &self,
        merchant: MerchantId,
        cart: CartId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        self.held.write("release_cart", move |state, _| release(state, (merchant, cart), at)).await
    }

    async fn ended_reservations(
        &self,
        now: Timestamp,
        after: Option<EndedReservation>,
        limit: u32,
    ) -> Result<Vec<EndedReservation>, StoreError> {
        let list = |state: &OrdersState| {
            let all = state.reservations.iter().map(|((merchant, cart), row)| EndedReservation {
                expires_at: row.expires_at,
                cart: *cart,
                merchant: *merchant,
            });
            let mut ended: Vec<_> =
                all.filter(|row| row.expires_at <= now && after.is_none_or(|after| *row > after)).collect();
            ended.sort_unstable();
            ended.truncate(some(limit));
            ended
        };
        self.held.read("ended_reservations", list).await
    }

    async fn expire_reservation(
        &self,
        merchant: MerchantId,
        cart: CartId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let expire = move |state: &mut OrdersState, _| {
            let row = state.reservations.get(&(merchant, cart));
            if row.is_some_and(|row| row.expires_at <= now) {
                return release(state, (merchant, cart), now);
            }
            Ok(false)
        };
        self.held.write("expire_reservation", expire).await
    }
}

fn reserve(state: &mut OrdersState, new: &NewReservation) -> Result<ReserveOutcome, Damage> {
    let key = (new.merchant, new.cart);
    let (former, end): (Vec<NewLine>, _) = match state.reservations.get(&key) {
        Some(row) => (row.lines.clone(), Some(row.expires_at)),
        None => (Vec::new(), None),
    };
    let (own, wanted) = (of_lines(&former), of_lines(&new.lines));
    let reserved = reservable(state, (new.merchant, new.currency), &wanted, &own);
    if reserved.len() < wanted.len() {
        let known = known(state, new.merchant, &wanted, &own);
        return Ok(ReserveOutcome::Refused(refusals(&new.lines, new.currency, &reserved, &known)));
    }
    for (sku, quantity) in exchanged(&own, &wanted) {
        let more = wanted.get(sku).copied().unwrap_or(0) - quantity;
        state.change_product(new.merchant, sku, new.at, |row| row.product.reserved += more)?;
    }
    let until = end_of(new, end);
    state.reservations.insert(key, ReservationRow { lines: new.lines.clone(), expires_at: until });
    Ok(ReserveOutcome::Reserved { until })
}

fn release(state: &mut OrdersState, key: (MerchantId, CartId), at: Timestamp) -> Result<bool, Damage> {
    let Some(row) = state.reservations.remove(&key) else { return Ok(false) };
    for (sku, quantity) in of_lines(&row.lines) {
        state.change_product(key.0, sku, at, |row| row.product.reserved -= quantity)?;
    }
    Ok(true)
}
