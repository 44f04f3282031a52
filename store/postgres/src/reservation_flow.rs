//! [`Reservations`]: each change as one unit of work, and the list of those that ended.

use async_trait::async_trait;
use base::Timestamp;
use store::{
    domain::{CartId, MerchantId},
    error,
    reservations::{EndedReservation, NewReservation, Reservations, ReserveOutcome},
};

use super::{PostgresOrders, fault::PostgresFault, reservations};

#[async_trait]
impl Reservations for PostgresOrders {
    async fn reserve_cart(&self, reservation: NewReservation) -> error::Result<ReserveOutcome> {
        let merchant = reservation.merchant;
        let reserved =
            self.router.write(merchant, reservation, |unit, new| Box::pin(reservations::reserve(unit, new)));
        Ok(reserved.await?)
    }

    async fn release_cart(&self, merchant: MerchantId, cart: CartId, at: Timestamp) -> error::Result<bool> {
        let released = self.router.write(merchant, (merchant, cart, at), |unit, (merchant, cart, at)| {
            Box::pin(reservations::release(unit, *merchant, *cart, None, *at))
        });
        Ok(released.await?)
    }

    async fn ended_reservations(
        &self,
        now: Timestamp,
        after: Option<EndedReservation>,
        limit: u32,
    ) -> error::Result<Vec<EndedReservation>> {
        let (mut found, mut failed, mut has_answer) = (Vec::new(), None, false);
        // An unavailable shard keeps its own reservations only.
        for member in self.router.members() {
            let ended = reservations::ended(now, after, limit);
            match member.primary.reads().rows(ended).await.map_err(PostgresFault::from) {
                Ok(rows) => {
                    has_answer = true;
                    for row in &rows {
                        found.push(reservations::ended_of(row)?);
                    }
                }
                Err(fault) => failed = Some(fault),
            }
        }
        if let Some(fault) = failed.filter(|_| !has_answer) {
            return Err(fault.into());
        }
        found.sort_unstable();
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    async fn expire_reservation(
        &self,
        merchant: MerchantId,
        cart: CartId,
        now: Timestamp,
    ) -> error::Result<bool> {
        let released = self.router.write(merchant, (merchant, cart, now), |unit, (merchant, cart, now)| {
            Box::pin(reservations::release(unit, *merchant, *cart, Some(*now), *now))
        });
        Ok(released.await?)
    }
}
