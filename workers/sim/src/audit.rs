//! Invariants that are checked at the end of a run, when all work is complete.

use std::collections::{BTreeMap, BTreeSet};

use store::{
    domain::{Decision, Event, EventKind, Order, OrderId, OrderStatus, PaymentId, RefundState},
    orders::MailSubject,
};
use store_memory::orders::Snapshot;
use workers::provider::{EntryKind, refund_key};

use crate::{customers::Steady, deployment::Deployment, provider::Entry};

/// Checks all invariants; violations go to the watch.
pub(crate) fn audit(world: &Deployment, steady: &[Steady]) {
    let stored = world.orders.snapshot();
    let ledger = world.provider.ledger();
    for (order, captured_minor) in &stored.orders {
        settled(world, order);
        money(world, order, *captured_minor, &ledger);
        sequence(world, order, &stored.events);
    }
    refunds(world, &ledger);
    stock(world, &stored);
    mails(world, &stored);
    webhooks(world, &stored.events, steady);
    check_published_events(world, &stored.events);
}

/// I1: an accepted order ends.
fn settled(world: &Deployment, order: &Order) {
    if order.status.holds_reservation() {
        world.watch.breach("I1", format!("{} is still {}", order.id, order.status));
    }
}

/// I2: one capture per paid order, in the store and at the provider, and exactly the refunds due.
fn money(world: &Deployment, order: &Order, captured_minor: Option<i64>, ledger: &[Entry]) {
    let sum = |kind| {
        let entries = ledger.iter().filter(|e| e.order == order.id && e.kind == kind);
        entries.map(|entry| entry.amount_minor).sum::<i64>()
    };
    let (taken, given_back) = (sum(EntryKind::Charge), sum(EntryKind::Refund));
    let expected = match order.status {
        OrderStatus::Fulfilled if order.total_minor == 0 => taken == 0 && given_back == 0,
        OrderStatus::Fulfilled => taken == order.total_minor && given_back < taken,
        OrderStatus::Refunded => taken == order.total_minor && given_back == taken,
        OrderStatus::PaymentFailed => taken == 0 && given_back == 0,
        OrderStatus::Cancelled => (taken == 0 || taken == order.total_minor) && given_back == taken,
        OrderStatus::Pending | OrderStatus::Paid => true,
    };
    let (id, status) = (order.id, order.status);
    if !expected {
        world.watch.breach("I2", format!("{id} is {status}: {taken} taken, {given_back} given back"));
    }
    if captured_minor.unwrap_or(0) != taken || order.refunded_minor != given_back {
        let (captured, refunded) = (captured_minor.unwrap_or(0), order.refunded_minor);
        world.watch.breach(
            "I2",
            format!(
                "{id} says {captured} taken, {refunded} given back; the provider {taken} and {given_back}"
            ),
        );
    }
    let payment = world.payments.peek(PaymentId::of_order(id));
    let decision = payment.as_ref().and_then(|payment| payment.decision.as_ref());
    let reference =
        ledger.iter().find(|e| e.order == id && e.kind == EntryKind::Charge).map(|e| &e.reference);
    let agrees = match decision {
        Some(Decision::Captured { .. }) if order.total_minor == 0 => reference.is_none(),
        Some(Decision::Captured { provider_reference }) => reference == Some(provider_reference),
        Some(Decision::Declined { .. }) | None => reference.is_none(),
    };
    if !agrees {
        world.watch.breach("I2", format!("payment of {id}: {decision:?}, the provider has {reference:?}"));
    }
    let ended = |refund: &store::domain::Refund| match refund.state {
        RefundState::Open => false,
        RefundState::Done => true,
        RefundState::Failed => world.provider.has_refused(id, &refund_key(refund.id)),
    };
    let open = |payment: &store::domain::Payment| !payment.refunds.iter().all(ended);
    if payment.as_ref().is_some_and(|payment| open(payment) || payment.refunded_minor() != given_back) {
        world.watch.breach("I2", format!("refunds of {id}: {:?}", payment.map(|payment| payment.refunds)));
    }
}

fn sequence(world: &Deployment, order: &Order, events: &[Event]) {
    let of_order = events.iter().filter(|event| event.order == Some(order.id));
    let told: Vec<u64> = of_order.map(|event| event.sequence).collect();
    if !told.iter().copied().eq(1..=order.event_sequence) {
        world
            .watch
            .breach("sequence", format!("{} counts {}, told {told:?}", order.id, order.event_sequence));
    }
}

/// I2: each requested refund was made, once and in its amount, unless it was refused or one by hand left no room.
fn refunds(world: &Deployment, ledger: &[Entry]) {
    for (refund, (order, amount_minor)) in world.watch.refunds() {
        let key = refund_key(refund);
        let made: Vec<i64> = ledger
            .iter()
            .filter(|entry| entry.kind == EntryKind::Refund && entry.key == key)
            .map(|entry| entry.amount_minor)
            .collect();
        let expected = if world.provider.has_refused(order, &key) { vec![] } else { vec![amount_minor] };
        // A recorded refund by hand may have left no room for this one, which then ends without a call.
        if made != expected && !(made.is_empty() && world.provider.is_by_hand(order)) {
            world.watch.breach("I2", format!("{refund} of {order} over {amount_minor} was made: {made:?}"));
        }
    }
}

/// I3: reservations are those of open orders, and the units missing in stock are the shipped ones.
fn stock(world: &Deployment, stored: &Snapshot) {
    for (merchant, product) in &stored.products {
        let units = |counts: fn(&Order) -> bool| -> i64 {
            let orders = stored.orders.iter().filter(|(o, _)| o.merchant == *merchant && counts(o));
            let lines = orders.flat_map(|(order, _)| &order.lines).filter(|line| line.sku == product.sku);
            lines.map(|line| i64::from(line.quantity)).sum()
        };
        let (shipped, promised) = (units(|o| o.shipment.is_some()), units(|o| o.status.holds_reservation()));
        let put_in = world.watch.put_in(*merchant, &product.sku);
        if product.reserved != promised || product.on_hand != put_in - shipped {
            world.watch.breach(
                "I3",
                format!(
                    "{}: {} reserved, {promised} promised; {} on hand of {put_in}, {shipped} shipped",
                    product.sku, product.reserved, product.on_hand
                ),
            );
        }
    }
}

/// I4: the mails that the events ask for are recorded, once each, and were sent.
fn mails(world: &Deployment, stored: &Snapshot) {
    let wanted = |event: &Event| Some((MailSubject::from(event.order?), mail_for(event)?));
    let wanted: BTreeSet<_> = stored.events.iter().filter_map(wanted).collect();
    let mut recorded = BTreeMap::<(MailSubject, String), u32>::new();
    for (subject, mail) in &stored.mails {
        *recorded.entry((*subject, mail.template.clone())).or_default() += 1;
        if !world.outside.has_mail(&mail.message_id) {
            world
                .watch
                .breach("I4", format!("{} of {subject:?} is recorded and was not sent", mail.template));
        }
    }
    if let Some((mail, times)) = recorded.iter().find(|(_, times)| **times > 1) {
        world.watch.breach("I4", format!("{mail:?} is recorded {times} times"));
    }
    let recorded: BTreeSet<_> = recorded.into_keys().collect();
    if let Some(mail) = wanted.symmetric_difference(&recorded).next() {
        let which = if recorded.contains(mail) { "unasked for" } else { "missing" };
        world.watch.breach("I4", format!("{mail:?} is {which}"));
    }
}

/// Independent of the subscription table, which is under test.
fn mail_for(event: &Event) -> Option<String> {
    let template = match event.kind {
        EventKind::OrderPaid => "order_confirmation",
        EventKind::PaymentFailed => "payment_failed",
        EventKind::OrderCancelled => "order_cancelled",
        EventKind::OrderRefunded => "order_refunded",
        EventKind::PaymentRefunded if event.data["status"] == "captured" => {
            return Some(format!("partial_refund.{}", event.data["refund_id"].as_str()?));
        }
        _ => return None,
    };
    Some(template.to_owned())
}

/// I5 and I6: unchanged endpoints took every event they subscribed to, and no event of another merchant.
fn webhooks(world: &Deployment, events: &[Event], steady: &[Steady]) {
    let taken = world.outside.hooks();
    for endpoint in steady {
        let wanted =
            |event: &&Event| event.merchant == endpoint.merchant && endpoint.events.includes(event.kind);
        for event in events.iter().filter(wanted) {
            if !taken.contains(&(endpoint.id, event.id)) {
                world
                    .watch
                    .breach("I5", format!("{} {} never reached {}", event.id, event.kind, endpoint.id));
            }
        }
        let foreign = |event: &&Event| event.merchant != endpoint.merchant;
        if let Some(event) =
            events.iter().filter(foreign).find(|event| taken.contains(&(endpoint.id, event.id)))
        {
            world.watch.breach("I6", format!("{} reached {} of another merchant", event.id, endpoint.id));
        }
    }
}

/// Every event is published, and the first publishings of the events of an order are in sequence.
fn check_published_events(world: &Deployment, events: &[Event]) {
    let mut first = BTreeMap::new();
    for (place, news) in world.queue.published_events().into_iter().enumerate() {
        first.entry(news.id).or_insert(place);
    }
    let mut newest = BTreeMap::<OrderId, usize>::new();
    for event in events {
        let Some(place) = first.get(&event.id.to_string()) else {
            world.watch.breach("announcing", format!("{} {} was never announced", event.id, event.kind));
            continue;
        };
        let Some(order) = event.order else { continue };
        if newest.insert(order, *place).is_some_and(|before| before > *place) {
            world.watch.breach("announcing", format!("{} of {order} was announced early", event.kind));
        }
    }
}
