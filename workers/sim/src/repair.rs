//! Repairs of `orderworks verify --repair` for orders that were refunded by hand or disputed: what was not reported is
//! recorded, and what an order that was called off still keeps is requested.

use store::{
    StoreError,
    audit::Audit as _,
    domain::{EventId, Order, RefundId},
    outbox::{Command, Outbox as _},
};
use workers::provider::EntryKind;

use crate::{deployment::Deployment, provider::Entry};

/// Makes the repairs that are due; false when there are none.
pub(crate) async fn repair(world: &Deployment) -> Result<bool, StoreError> {
    let (stored, ledger) = (world.orders.snapshot(), world.provider.ledger());
    let mut any = false;
    for (order, _) in stored.orders.iter().filter(|(order, _)| world.provider.is_by_hand(order.id)) {
        any |= repair_order(world, order, &ledger).await?;
    }
    Ok(any)
}

async fn repair_order(world: &Deployment, order: &Order, ledger: &[Entry]) -> Result<bool, StoreError> {
    let (id, at) = (order.id, world.ambient.now());
    let of_order = |kind| ledger.iter().filter(move |entry| entry.order == id && entry.kind == kind);
    let given_back: i64 = of_order(EntryKind::Refund).map(|entry| entry.amount_minor).sum();
    let Some(charge) = of_order(EntryKind::Charge).next() else { return Ok(false) };
    if order.refunded_minor == given_back {
        return world.orders.request_missing_refund(id, at).await;
    }
    let command = if world.refunds_again {
        let (refund, amount_minor) = (RefundId::fresh(&world.ambient), given_back - order.refunded_minor);
        Command::Refund { order: id, refund, amount_minor }
    } else {
        Command::ProviderReport { order: id, reference: charge.reference.clone() }
    };
    world.orders.submit(EventId::fresh(&world.ambient), command, at).await?;
    Ok(true)
}
