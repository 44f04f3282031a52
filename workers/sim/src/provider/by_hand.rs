//! Refunds made in the provider's dashboard, disputes, and the provider's report of a charge.

use store::domain::OrderId;
use workers::provider::{ChargeOutcome, ChargeReport, EntryKind, RefundOutcome, RefundReport};

use super::{Entry, ProviderState, SimProvider};

impl SimProvider {
    /// Refunds an amount, or what is left, of the charge of an order; returns the charge.
    pub(crate) fn refund_by_hand(&self, order: OrderId, amount_minor: i64) -> Option<String> {
        let mut books = self.books.lock();
        let is_charge = |entry: &&Entry| entry.order == order && entry.kind == EntryKind::Charge;
        let charge = books.ledger.iter().find(is_charge)?.clone();
        let amount_minor = amount_minor.min(books.left(&charge.reference));
        if amount_minor <= 0 || books.disputed.contains(&order) {
            return None;
        }
        let key = format!("by hand {}", books.ledger.len());
        let reference = charge.reference.clone();
        books.ledger.push(Entry { kind: EntryKind::Refund, key, amount_minor, ..charge });
        books.by_hand.insert(order);
        drop(books);
        self.trace.note("provider", || format!("refund of {order} over {amount_minor} by hand"));
        Some(reference)
    }

    /// Opens a dispute of the charge of an order, if there is one.
    pub(crate) fn dispute(&self, order: OrderId) -> bool {
        let mut books = self.books.lock();
        let is_charged = books.times_taken(order) > 0;
        if is_charged {
            books.by_hand.insert(order);
            books.disputed.insert(order);
        }
        is_charged
    }

    /// Ends a dispute for the shop.
    pub(crate) fn win_dispute(&self, order: OrderId) {
        self.books.lock().disputed.remove(&order);
    }

    /// Whether an order was refunded by hand or disputed.
    pub(crate) fn is_by_hand(&self, order: OrderId) -> bool {
        self.books.lock().by_hand.contains(&order)
    }
}

impl ProviderState {
    pub(super) fn report(&self, charge: &str) -> Option<ChargeReport> {
        let of_charge = || self.ledger.iter().enumerate().filter(move |(_, entry)| entry.reference == charge);
        let (_, taken) = of_charge().find(|(_, entry)| entry.kind == EntryKind::Charge)?;
        let refunds = of_charge().filter(|(_, entry)| entry.kind == EntryKind::Refund);
        let refunds = refunds.map(|(position, entry)| {
            let reference = format!("re_{}", position + 1);
            let outcome = RefundOutcome::Done { reference: reference.clone() };
            RefundReport {
                reference,
                refund: entry.key.parse().ok(),
                amount_minor: entry.amount_minor,
                outcome,
            }
        });
        Some(ChargeReport {
            order: Some(taken.order),
            amount_minor: taken.amount_minor,
            currency: taken.currency,
            outcome: Some(ChargeOutcome::Captured { provider_reference: taken.reference.clone() }),
            refunds: refunds.collect(),
        })
    }
}
