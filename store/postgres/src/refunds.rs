//! Refunds: the request (with its command), and the record of its end at the provider. Disputes: their states.
//!
//! Guarantees: a refund counts once by its id; the requested sum of what is open or done, and the recorded sum, never
//! exceed the order's total. The order is locked first, so its refunds cannot change before the commit.
//! `request`, `record` and `record_dispute` are methods of [`store::orders::Orders`].

use base::Timestamp;
use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, RefundId},
    orders::{DisputeFacts, RefundFacts, RefundRequested, RequestedRefund, Transition},
    outbox::Command,
    rules::{
        rows,
        transitions::{self, KnownRefund, RefundSums},
    },
};

use super::{
    fault::Result,
    order_row::{self, columns},
    outbox, stock,
    timestamps::Moment,
    transaction::Unit,
};

const GIVE: &str = concat!(
    "UPDATE orders SET refunded_minor = refunded_minor + $3, updated_at = $2,
         status = CASE WHEN status IN ('paid', 'fulfilled') AND refunded_minor + $3 = total_minor THEN 'refunded' ELSE status END,
         event_sequence = event_sequence
             + CASE WHEN status IN ('paid', 'fulfilled') AND refunded_minor + $3 = total_minor THEN 2 ELSE 1 END
     WHERE id = $1 AND status IN ('paid', 'fulfilled', 'cancelled', 'payment_failed') AND captured_minor IS NOT NULL
         AND $3 > 0 AND refunded_minor + $3 <= total_minor
     RETURNING ",
    columns!()
);
/// The order after a refund failed, or a dispute. The amount is not used.
const KEEP_MONEY: &str = concat!(
    "UPDATE orders SET updated_at = $2, event_sequence = event_sequence + 1
     WHERE id = $1 AND captured_minor IS NOT NULL AND $3::bigint > 0 RETURNING ",
    columns!()
);
const END: &str = "
    INSERT INTO refunds (order_id, id, amount_minor, requested_at, recorded_at, failed_at, failure)
    VALUES ($1, $2, $3, $4, CASE WHEN $5::text IS NULL THEN $4 END, CASE WHEN $5::text IS NOT NULL THEN $4 END, $5)
    ON CONFLICT (order_id, id) DO UPDATE SET amount_minor = excluded.amount_minor,
        recorded_at = excluded.recorded_at, failed_at = excluded.failed_at, failure = excluded.failure";
const ASK: &str =
    "INSERT INTO refunds (order_id, id, amount_minor, requested_at, remainder) VALUES ($1, $2, $3, $4, $5)";
pub(super) const KNOWN: &str =
    "SELECT amount_minor, remainder, recorded_at, failure FROM refunds WHERE order_id = $1 AND id = $2";
// The sum of a bigint column is numeric; the cast converts it back.
pub(super) const SUMS: &str = "
    SELECT coalesce(sum(amount_minor) FILTER (WHERE failed_at IS NULL), 0)::bigint AS live_minor,
        count(*) AS refunds, count(failed_at) AS failed
    FROM refunds WHERE order_id = $1";
const HOLD: &str = "UPDATE orders SET shipment_held = $2 WHERE id = $1";

/// Requests a refund of a cancelled order: the part of `captured_minor` that is neither refunded nor on its way back.
/// False when there is none.
pub(super) async fn give_back(
    unit: &mut Unit,
    order: &Order,
    captured_minor: i64,
    at: Timestamp,
) -> Result<bool> {
    let sums = sums(unit, order.id).await?;
    let left_minor = sums.left_minor(order, captured_minor);
    if left_minor <= 0 {
        return Ok(false);
    }
    ask(unit, order, (sums.refund_of_cancelled(order), left_minor), false, at).await?;
    Ok(true)
}

pub(super) async fn request(
    unit: &mut Unit,
    (merchant, id): (MerchantId, OrderId),
    (refund, amount_minor): (RefundId, Option<i64>),
    at: Timestamp,
) -> Result<RefundRequested> {
    let order = order_row::lock_captured(unit, id).await?.filter(|(order, _)| order.merchant == merchant);
    let Some((order, captured_minor)) = order else { return Ok(RefundRequested::NotFound) };
    let order = Box::new(order);
    if let Some(known) = known(unit, id, refund).await? {
        return Ok(known.answer(order, refund, amount_minor));
    }
    if !transitions::may_be_refunded(&order, captured_minor) {
        return Ok(RefundRequested::Refused(order));
    }
    let remainder = amount_minor.is_none();
    let amount_minor = match sums(unit, id).await?.refundable(&order, amount_minor) {
        Ok(amount_minor) => amount_minor,
        Err(answer) => return Ok(answer),
    };
    ask(unit, &order, (refund, amount_minor), remainder, at).await?;
    Ok(RefundRequested::Accepted(order, RequestedRefund { id: refund, amount_minor, done: false }))
}

pub(super) async fn record(
    unit: &mut Unit,
    id: OrderId,
    facts: &RefundFacts,
    at: Timestamp,
) -> Result<Transition> {
    let Some(before) = order_row::lock(unit, id).await?.map(Box::new) else {
        return Ok(Transition::NotFound);
    };
    if known(unit, id, facts.refund).await?.is_some_and(|known| known.end.is_final_for(facts)) {
        return Ok(Transition::Already(before));
    }
    let change = if facts.failure.is_none() { GIVE } else { KEEP_MONEY };
    let change = sqlx::query(change).bind(id.0).bind(Moment(at)).bind(facts.amount_minor);
    let Some(row) = unit.row(change).await? else { return Ok(Transition::Refused(before)) };
    let end = sqlx::query(END).bind(id.0).bind(facts.refund.0).bind(facts.amount_minor).bind(Moment(at));
    unit.run(end.bind(facts.failure.clone())).await?;
    let (order, captured_minor) = (order_row::order(&row)?, order_row::captured_minor(&row)?);
    // A refund that fails changes no state: what it finds refunded has freed its stock.
    if facts.failure.is_none() && order.status == OrderStatus::Refunded && order.shipment.is_none() {
        stock::release(unit, &order, at).await?;
    }
    unit.messages(at).refund_ended(&order, captured_minor, facts);
    hold_shipment(unit, &order).await?;
    if let (true, Some(captured_minor)) = (transitions::is_called_off(&order), captured_minor)
        && facts.failure.is_some()
        && !sums(unit, id).await?.is_of_cancelled(&order, facts.refund)
    {
        give_back(unit, &order, captured_minor, at).await?;
    }
    Ok(Transition::Now(Box::new(order)))
}

pub(super) async fn record_dispute(
    unit: &mut Unit,
    id: OrderId,
    facts: &DisputeFacts,
    at: Timestamp,
) -> Result<Transition> {
    let Some(before) = order_row::lock(unit, id).await?.map(Box::new) else {
        return Ok(Transition::NotFound);
    };
    if unit.row(sqlx::query(outbox::KNOWN).bind(facts.event(id).0)).await?.is_some() {
        return Ok(Transition::Already(before));
    }
    let change = sqlx::query(KEEP_MONEY).bind(id.0).bind(Moment(at)).bind(1_i64);
    let Some(row) = unit.row(change).await? else { return Ok(Transition::Refused(before)) };
    let order = order_row::order(&row)?;
    unit.messages(at).disputed(&order, order_row::captured_minor(&row)?, facts);
    Ok(Transition::Now(Box::new(order)))
}

async fn ask(
    unit: &mut Unit,
    order: &Order,
    (refund, amount_minor): (RefundId, i64),
    remainder: bool,
    at: Timestamp,
) -> Result<()> {
    let query = sqlx::query(ASK).bind(order.id.0).bind(refund.0).bind(amount_minor).bind(Moment(at));
    unit.run(query.bind(remainder)).await?;
    hold_shipment(unit, order).await?;
    Ok(unit.messages(at).command(order, &Command::Refund { order: order.id, refund, amount_minor })?)
}

/// Holds the shipment of a paid order of whose price nothing would be left; lets it go once a refund has failed.
///
/// Kept in the row of the order: a shipment that waits for its lock then sees the change, while rows of refunds
/// committed since its statement began are not visible to it.
async fn hold_shipment(unit: &mut Unit, order: &Order) -> Result<()> {
    if order.status == OrderStatus::Paid {
        let held = sums(unit, order.id).await?.hold_shipment(order);
        unit.run(sqlx::query(HOLD).bind(order.id.0).bind(held)).await?;
    }
    Ok(())
}

async fn known(unit: &mut Unit, order: OrderId, refund: RefundId) -> Result<Option<KnownRefund>> {
    let row = unit.row(sqlx::query(KNOWN).bind(order.0).bind(refund.0)).await?;
    row.as_ref().map(rows::known_refund).transpose()
}

async fn sums(unit: &mut Unit, order: OrderId) -> Result<RefundSums> {
    let row = unit.row(sqlx::query(SUMS).bind(order.0)).await?;
    row.as_ref().map_or(Ok(RefundSums::default()), rows::refund_sums)
}
