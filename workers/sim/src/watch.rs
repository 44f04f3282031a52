//! Invariants that are checked at every change; the first violation is kept.

use std::{collections::BTreeMap, fmt, sync::Arc};

use parking_lot::Mutex;
use store::{
    catalog::Product,
    domain::{MerchantId, Order, OrderId, Payment, RefundId},
    outbox::{Command, OutboxBody},
};
use store_memory::Observer;

use crate::trace::Trace;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Name of the invariant, such as `I2`.
    pub invariant: &'static str,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// Observer of all changes in both stores.
pub(crate) struct Watch {
    trace: Arc<Trace>,
    seen: Mutex<WatchState>,
}

#[derive(Default)]
struct WatchState {
    violation: Option<Violation>,
    /// Stock as if nothing had been shipped, by merchant and SKU.
    put_in: BTreeMap<(MerchantId, String), i64>,
    refunds: BTreeMap<RefundId, (OrderId, i64)>,
    /// Newest event sequence of each order.
    sequences: BTreeMap<OrderId, u64>,
}

impl Watch {
    pub(crate) fn new(trace: Arc<Trace>) -> Self {
        Self { trace, seen: Mutex::default() }
    }

    /// Records a violation; only the first is kept, because later ones may only follow from it.
    pub(crate) fn breach(&self, invariant: &'static str, detail: String) {
        self.trace.note("BREACH", || format!("{invariant}: {detail}"));
        self.seen.lock().violation.get_or_insert(Violation { invariant, detail });
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        self.seen.lock().violation.clone()
    }

    pub(crate) fn refunds(&self) -> BTreeMap<RefundId, (OrderId, i64)> {
        self.seen.lock().refunds.clone()
    }

    pub(crate) fn put_in(&self, merchant: MerchantId, sku: &str) -> i64 {
        self.seen.lock().put_in.get(&(merchant, sku.to_owned())).copied().unwrap_or(0)
    }
}

impl Observer for Watch {
    fn order(&self, before: Option<&Order>, after: &Order) {
        self.trace.note("order", || {
            format!(
                "{} {} refunded {} of {}",
                after.id, after.status, after.refunded_minor, after.total_minor
            )
        });
        let Some(before) = before else { return };
        if before.status != after.status && !before.status.may_become(after.status) {
            let (from, to) = (before.status, after.status);
            self.breach("order states", format!("{} went from {from} to {to}", after.id));
        }
        if after.event_sequence < before.event_sequence || after.refunded_minor < before.refunded_minor {
            self.breach("order states", format!("{} goes backwards", after.id));
        }
        if after.refunded_minor > after.total_minor {
            self.breach("I2", format!("{} gave back more than it took", after.id));
        }
    }

    fn product(&self, merchant: MerchantId, before: Option<&Product>, after: &Product) {
        let (sku, on_hand, reserved) = (&after.sku, after.on_hand, after.reserved);
        self.trace.note("stock", || format!("{sku} on hand {on_hand}, reserved {reserved}"));
        if on_hand < 0 || reserved < 0 || reserved > on_hand {
            self.breach("I3", format!("{sku} has {on_hand} on hand and {reserved} reserved"));
        }
        let (on_hand_before, reserved_before) = before.map_or((0, 0), |p| (p.on_hand, p.reserved));
        // Shipping lowers both; setting the stock leaves `reserved` unchanged.
        if reserved == reserved_before {
            *self.seen.lock().put_in.entry((merchant, sku.clone())).or_default() += on_hand - on_hand_before;
        }
    }

    fn message(&self, body: &OutboxBody) {
        match body {
            OutboxBody::Event(event) => {
                self.trace.note("event", || format!("{} {} {:?}", event.id, event.kind, event.order));
                let Some(order) = event.order else { return };
                let before = self.seen.lock().sequences.insert(order, event.sequence).unwrap_or(0);
                if event.sequence != before + 1 {
                    self.breach("sequence", format!("{order} told {} after {before}", event.sequence));
                }
            }
            OutboxBody::Command { command: Command::Refund { order, refund, amount_minor }, .. } => {
                self.trace.note("command", || format!("refund {refund} of {order} over {amount_minor}"));
                let twice = self.seen.lock().refunds.insert(*refund, (*order, *amount_minor)).is_some();
                if twice {
                    self.breach("I2", format!("refund {refund} was ordered twice"));
                }
            }
            OutboxBody::Command { .. } | OutboxBody::Unreadable(_) => {}
        }
    }

    fn payment(&self, before: Option<&Payment>, after: &Payment) {
        self.trace.note("payment", || {
            format!(
                "{} epoch {} {:?}, {} refunds",
                after.id,
                after.epoch,
                after.decision,
                after.refunds.len()
            )
        });
        let Some(before) = before else { return };
        if before.decision.is_some() && before.decision != after.decision {
            self.breach("decision", format!("{} was decided again", after.id));
        }
        if after.epoch < before.epoch {
            self.breach("decision", format!("the epoch of {} fell", after.id));
        }
        if after.refunded_minor() > after.amount_minor {
            self.breach("I2", format!("{} gave back more than it took", after.id));
        }
    }

    fn decided(&self, payment: &Payment, epoch: u64) {
        let (id, newest) = (payment.id, payment.epoch);
        if newest != epoch {
            self.breach("fencing", format!("{id} was decided by attempt {epoch}, the newest is {newest}"));
        }
    }
}
