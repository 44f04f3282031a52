//! Refunds: the request (with its command), and the record of its end at the provider. Disputes: their states.
//!
//! Guarantees: a refund counts once by its id; the requested sum of what is open or done, and the recorded sum, never
//! exceed the order's total. `request`, `record` and `record_dispute` are methods of [`store::orders::Orders`].

use store::{
    domain::{MerchantId, Order, OrderId, OrderStatus, RefundId},
    orders::{DisputeFacts, RefundFacts, RefundRequested, RequestedRefund, Transition},
    outbox::Command,
    rules::{
        rows,
        transitions::{self, KnownRefund, RefundSums},
    },
};

use super::{fault::Result, order_row, stock, transaction::Unit};

/// Adds to the refunded amount; the order becomes `refunded` when that reaches the total, unless it ended otherwise.
const GIVE: &str = "
    UPDATE orders SET refunded_minor = refunded_minor + ?3, updated_at = ?2,
        status = iif(status IN ('paid', 'fulfilled') AND refunded_minor + ?3 = total_minor, 'refunded', status),
        event_sequence = event_sequence
            + iif(status IN ('paid', 'fulfilled') AND refunded_minor + ?3 = total_minor, 2, 1)
    WHERE id = ?1 AND status IN ('paid', 'fulfilled', 'cancelled', 'payment_failed') AND captured_minor IS NOT NULL
        AND ?3 > 0 AND refunded_minor + ?3 <= total_minor
    RETURNING *";
/// The order after a refund failed, or a dispute. The amount is not used.
const KEEP_MONEY: &str = "
    UPDATE orders SET updated_at = ?2, event_sequence = event_sequence + 1
    WHERE id = ?1 AND captured_minor IS NOT NULL AND ?3 > 0 RETURNING *";
const END: &str = "
    INSERT INTO refunds (order_id, id, amount_minor, requested_at, recorded_at, failed_at, failure)
    VALUES (?1, ?2, ?3, ?4, iif(?5 IS NULL, ?4, NULL), iif(?5 IS NULL, NULL, ?4), ?5)
    ON CONFLICT (order_id, id) DO UPDATE SET amount_minor = excluded.amount_minor,
        recorded_at = excluded.recorded_at, failed_at = excluded.failed_at, failure = excluded.failure";
const ASK: &str =
    "INSERT INTO refunds (order_id, id, amount_minor, requested_at, remainder) VALUES (?1, ?2, ?3, ?4, ?5)";
const REFUND: &str =
    "SELECT amount_minor, remainder, recorded_at, failure FROM refunds WHERE order_id = ?1 AND id = ?2";
const SUMS: &str = "
    SELECT coalesce(sum(amount_minor) FILTER (WHERE failed_at IS NULL), 0) AS live_minor, count(*) AS refunds,
        count(failed_at) AS failed
    FROM refunds WHERE order_id = ?1";
const HOLD: &str = "UPDATE orders SET shipment_held = ?2 WHERE id = ?1";

/// Requests a refund of a cancelled order: the part of `captured_minor` that is neither refunded nor on its way back.
pub(super) async fn give_back(unit: &mut Unit<'_>, order: &Order, captured_minor: i64) -> Result<()> {
    let sums = sums(unit, order.id).await?;
    let left_minor = sums.left_minor(order, captured_minor);
    if left_minor <= 0 {
        return Ok(());
    }
    ask(unit, order, (sums.refund_of_cancelled(order), left_minor), false).await
}

pub(super) async fn request(
    unit: &mut Unit<'_>,
    (merchant, id): (MerchantId, OrderId),
    (refund, amount_minor): (RefundId, Option<i64>),
) -> Result<RefundRequested> {
    let Some(row) = unit.row(order_row::of_merchant(merchant, id)).await? else {
        return Ok(RefundRequested::NotFound);
    };
    let order = Box::new(order_row::order(&row)?);
    if let Some(known) = known(unit, id, refund).await? {
        return Ok(known.answer(order, refund, amount_minor));
    }
    if !transitions::may_be_refunded(&order, order_row::captured_minor(&row)?) {
        return Ok(RefundRequested::Refused(order));
    }
    let remainder = amount_minor.is_none();
    let amount_minor = match sums(unit, id).await?.refundable(&order, amount_minor) {
        Ok(amount_minor) => amount_minor,
        Err(answer) => return Ok(answer),
    };
    ask(unit, &order, (refund, amount_minor), remainder).await?;
    Ok(RefundRequested::Accepted(order, RequestedRefund { id: refund, amount_minor, done: false }))
}

pub(super) async fn record(unit: &mut Unit<'_>, id: OrderId, facts: RefundFacts) -> Result<Transition> {
    let Some(before) = unit.row(order_row::by_id(id)).await? else { return Ok(Transition::NotFound) };
    if known(unit, id, facts.refund).await?.is_some_and(|known| known.end.is_final_for(&facts)) {
        return Ok(Transition::Already(Box::new(order_row::order(&before)?)));
    }
    let change = if facts.failure.is_none() { GIVE } else { KEEP_MONEY };
    let change = sqlx::query(change).bind(id.to_string()).bind(unit.at_ms()).bind(facts.amount_minor);
    let Some(row) = unit.row(change).await? else {
        return Ok(Transition::Refused(Box::new(order_row::order(&before)?)));
    };
    let end = sqlx::query(END).bind(id.to_string()).bind(facts.refund.to_string()).bind(facts.amount_minor);
    unit.run(end.bind(unit.at_ms()).bind(facts.failure.as_deref())).await?;
    let (order, captured_minor) = (order_row::order(&row)?, order_row::captured_minor(&row)?);
    unit.messages.refund_ended(&order, captured_minor, &facts);
    // A refund that fails changes no state: what it finds refunded has freed its stock.
    if facts.failure.is_none() && order.status == OrderStatus::Refunded && order.shipment.is_none() {
        stock::release(unit, &order).await?;
    }
    hold_shipment(unit, &order).await?;
    if let (true, Some(captured_minor)) = (transitions::is_called_off(&order), captured_minor)
        && facts.failure.is_some()
        && !sums(unit, id).await?.is_of_cancelled(&order, facts.refund)
    {
        give_back(unit, &order, captured_minor).await?;
    }
    Ok(Transition::Now(Box::new(order)))
}

pub(super) async fn record_dispute(
    unit: &mut Unit<'_>,
    id: OrderId,
    facts: DisputeFacts,
) -> Result<Transition> {
    let Some(before) = unit.row(order_row::by_id(id)).await? else { return Ok(Transition::NotFound) };
    let known = sqlx::query("SELECT 1 FROM outbox WHERE id = ?1").bind(facts.event(id).to_string());
    if unit.row(known).await?.is_some() {
        return Ok(Transition::Already(Box::new(order_row::order(&before)?)));
    }
    let change = sqlx::query(KEEP_MONEY).bind(id.to_string()).bind(unit.at_ms()).bind(1);
    let Some(row) = unit.row(change).await? else {
        return Ok(Transition::Refused(Box::new(order_row::order(&before)?)));
    };
    let order = order_row::order(&row)?;
    unit.messages.disputed(&order, order_row::captured_minor(&row)?, &facts);
    Ok(Transition::Now(Box::new(order)))
}

async fn ask(
    unit: &mut Unit<'_>,
    order: &Order,
    (refund, amount_minor): (RefundId, i64),
    remainder: bool,
) -> Result<()> {
    let query = sqlx::query(ASK).bind(order.id.to_string()).bind(refund.to_string());
    unit.run(query.bind(amount_minor).bind(unit.at_ms()).bind(remainder)).await?;
    hold_shipment(unit, order).await?;
    Ok(unit.messages.command(order, &Command::Refund { order: order.id, refund, amount_minor })?)
}

/// Holds the shipment of a paid order of whose price nothing would be left; lets it go once a refund has failed.
async fn hold_shipment(unit: &mut Unit<'_>, order: &Order) -> Result<()> {
    if order.status == OrderStatus::Paid {
        let held = sums(unit, order.id).await?.hold_shipment(order);
        unit.run(sqlx::query(HOLD).bind(order.id.to_string()).bind(held)).await?;
    }
    Ok(())
}

async fn known(unit: &mut Unit<'_>, order: OrderId, refund: RefundId) -> Result<Option<KnownRefund>> {
    let row = unit.row(sqlx::query(REFUND).bind(order.to_string()).bind(refund.to_string())).await?;
    row.as_ref().map(rows::known_refund).transpose()
}

async fn sums(unit: &mut Unit<'_>, order: OrderId) -> Result<RefundSums> {
    let row = unit.row(sqlx::query(SUMS).bind(order.to_string())).await?;
    row.as_ref().map_or(Ok(RefundSums::default()), rows::refund_sums)
}
