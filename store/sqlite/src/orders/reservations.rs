//! [`Reservations`]: stock reserved for carts, each change as one unit.

use async_trait::async_trait;
use base::{Timestamp, sqlite::Query};
use sqlx::sqlite::SqliteRow;
use store::{
    domain::{CartId, MerchantId},
    error,
    orders::{NewLine, NewOrder, Refusal},
    reservations::{EndedReservation, NewReservation, Reservations, ReserveOutcome},
    rules::{
        columns::Columns,
        place_order::refusals,
        reservations::{end_of, exchanged, of_lines},
        stock::Wanted,
    },
};

use super::{
    SqliteOrders,
    fault::{Result, SqliteFault, to_json},
    stock,
    transaction::Unit,
};

const OF_CART: &str =
    "SELECT lines, expires_at FROM cart_reservations WHERE merchant_id = ?1 AND cart_id = ?2";
const WRITE: &str = "
    INSERT INTO cart_reservations (merchant_id, cart_id, lines, expires_at) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (merchant_id, cart_id) DO UPDATE SET lines = excluded.lines, expires_at = excluded.expires_at";
const TAKE: &str = "DELETE FROM cart_reservations WHERE merchant_id = ?1 AND cart_id = ?2 RETURNING lines";
const TAKE_ENDED: &str = "
    DELETE FROM cart_reservations WHERE merchant_id = ?1 AND cart_id = ?2 AND expires_at <= ?3 RETURNING lines";
pub(super) const ENDED: &str = "
    SELECT merchant_id, cart_id, expires_at FROM cart_reservations
    WHERE expires_at <= ?1 AND (expires_at, cart_id) > (?2, ?3) ORDER BY expires_at, cart_id LIMIT ?4";

#[async_trait]
impl Reservations for SqliteOrders {
    async fn reserve_cart(&self, reservation: NewReservation) -> error::Result<ReserveOutcome> {
        let reserved = self.write(reservation.at, move |unit| Box::pin(reserve(unit, reservation)));
        match reserved.await {
            Ok(until) => Ok(ReserveOutcome::Reserved { until }),
            Err(NotReserved::Refused(refusals)) => Ok(ReserveOutcome::Refused(refusals)),
            Err(NotReserved::Fault(fault)) => Err(fault.into()),
        }
    }

    async fn release_cart(&self, merchant: MerchantId, cart: CartId, at: Timestamp) -> error::Result<bool> {
        let take = of_cart(TAKE, merchant, cart);
        Ok(self.write(at, move |unit| Box::pin(release(unit, merchant, take))).await?)
    }

    async fn ended_reservations(
        &self,
        now: Timestamp,
        after: Option<EndedReservation>,
        limit: u32,
    ) -> error::Result<Vec<EndedReservation>> {
        let query = sqlx::query(ENDED)
            .bind(now.as_millisecond())
            .bind(after.map_or(i64::MIN, |after| after.expires_at.as_millisecond()))
            .bind(after.map_or_else(String::new, |after| after.cart.to_string()))
            .bind(limit);
        self.all(query, ended).await
    }

    async fn expire_reservation(
        &self,
        merchant: MerchantId,
        cart: CartId,
        now: Timestamp,
    ) -> error::Result<bool> {
        let take = of_cart(TAKE_ENDED, merchant, cart).bind(now.as_millisecond());
        Ok(self.write(now, move |unit| Box::pin(release(unit, merchant, take))).await?)
    }
}

/// The reason why the unit ended without a reservation.
enum NotReserved {
    Refused(Vec<Refusal>),
    Fault(SqliteFault),
}

impl<E: Into<SqliteFault>> From<E> for NotReserved {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// Reserves all lines, or fails, which rolls the unit back. Returns when the reservation ends.
async fn reserve(unit: &mut Unit<'_>, new: NewReservation) -> Result<Timestamp, NotReserved> {
    let former = unit.row(of_cart(OF_CART, new.merchant, new.cart)).await?;
    let (lines, end): (Vec<NewLine>, _) = match &former {
        Some(row) => (row.json("lines")?, Some(row.time("expires_at")?)),
        None => (Vec::new(), None),
    };
    let wanted = of_lines(&new.lines);
    stock::release_units(unit, new.merchant, &exchanged(&of_lines(&lines), &wanted)).await?;
    let reserved = stock::reserve_for_cart(unit, &new, &wanted).await?;
    if reserved.len() < wanted.len() {
        let known = stock::look(unit, new.merchant, &wanted).await?;
        return Err(NotReserved::Refused(refusals(&new.lines, new.currency, &reserved, &known)));
    }
    let until = end_of(&new, end);
    let query =
        of_cart(WRITE, new.merchant, new.cart).bind(to_json(&new.lines)?).bind(until.as_millisecond());
    unit.run(query).await?;
    Ok(until)
}

/// Releases the units of the reservation that `take` deletes; false when there is none.
async fn release(unit: &mut Unit<'_>, merchant: MerchantId, take: Query<'static>) -> Result<bool> {
    let Some(row) = unit.row(take).await? else { return Ok(false) };
    let lines: Vec<NewLine> = row.json("lines")?;
    stock::release_units(unit, merchant, &of_lines(&lines)).await?;
    Ok(true)
}

/// Gives the units that the order's cart has reserved back, for the order to reserve them in the same unit.
pub(super) async fn take_over(unit: &mut Unit<'_>, order: &NewOrder, wanted: &Wanted<'_>) -> Result<()> {
    let Some(cart) = order.reservation else { return Ok(()) };
    let Some(row) = unit.row(of_cart(TAKE, order.merchant, cart)).await? else { return Ok(()) };
    let lines: Vec<NewLine> = row.json("lines")?;
    stock::release_units(unit, order.merchant, &exchanged(&of_lines(&lines), wanted)).await?;
    Ok(())
}

fn ended(row: &SqliteRow) -> Result<EndedReservation> {
    Ok(EndedReservation {
        expires_at: row.time("expires_at")?,
        cart: row.id("cart_id", CartId)?,
        merchant: row.id("merchant_id", MerchantId)?,
    })
}

/// Binds `?1` and `?2`.
fn of_cart(sql: &'static str, merchant: MerchantId, cart: CartId) -> Query<'static> {
    sqlx::query(sql).bind(merchant.to_string()).bind(cart.to_string())
}
