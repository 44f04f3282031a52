//! The order store in memory. Start with `state`: the tables, and the methods that change rows.

mod admission;
mod audit;
mod catalog;
mod customers;
mod order_flow;
mod outbox;
mod place_order;
mod records;
mod refunds;
mod reservations;
mod state;
mod transitions;
mod verifications;
mod webhooks;

use std::sync::Arc;

use base::Ambient;
use store::{
    catalog::Product,
    domain::{Event, MerchantId, Order},
    orders::{MailRecord, MailSubject},
    outbox::OutboxBody,
    rules::STORE,
};

use self::state::OrdersState;
use super::{Direct, Link, Observer, linked::Linked};

/// Orders and all that shares their transactions, in memory; clones share them.
#[derive(Clone)]
pub struct MemoryOrders {
    held: Linked<OrdersState>,
    ambient: Ambient,
    /// Messages that this handle cannot read.
    is_later: fn(&OutboxBody) -> bool,
}

/// A copy of everything stored, for checks of invariants.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// All orders by id, with the captured amount of each in minor units.
    pub orders: Vec<(Order, Option<i64>)>,
    /// All products by merchant and sku.
    pub products: Vec<(MerchantId, Product)>,
    /// All events in the order they were written.
    pub events: Vec<Event>,
    /// All mails by subject.
    pub mails: Vec<(MailSubject, MailRecord)>,
    /// Number of messages that no relay has marked as sent.
    pub unsent: usize,
}

impl MemoryOrders {
    /// An empty store.
    pub fn new(ambient: Ambient, observer: Arc<dyn Observer>) -> Self {
        let held = Linked::new(STORE, OrdersState::new(observer), Arc::new(Direct));
        Self { held, ambient, is_later: |_| false }
    }

    /// The same data as an earlier release sees it, for which these messages of the outbox are unreadable.
    #[must_use]
    pub fn before(self, is_later: fn(&OutboxBody) -> bool) -> Self {
        Self { is_later, ..self }
    }

    /// With a defect that a simulation must find: a message that is set aside counts as sent.
    #[must_use]
    pub fn forgetful(self) -> Self {
        self.held.touch(|state| state.forgets = true);
        self
    }

    /// With a defect that a simulation must find: a failed refund counts as requested.
    #[must_use]
    pub fn counting_failed_refunds(self) -> Self {
        self.held.touch(|state| state.counts_failed_refunds = true);
        self
    }

    /// The same data over another link.
    #[must_use]
    pub fn through(&self, link: Arc<dyn Link>) -> Self {
        Self { held: self.held.through(link), ..self.clone() }
    }

    /// Number of messages that no relay has marked as sent, read without a call.
    pub fn unsent(&self) -> usize {
        self.held.look(|state| state.unsent.len())
    }

    /// A copy of everything, read without a call.
    pub fn snapshot(&self) -> Snapshot {
        self.held.look(|state| Snapshot {
            orders: state.orders.values().map(|row| (row.order.clone(), row.captured_minor())).collect(),
            products: state.products.iter().map(|((m, _), row)| (*m, row.product.clone())).collect(),
            events: state.outbox.iter().filter_map(|row| event_of(&row.body)).collect(),
            mails: state
                .mails
                .iter()
                .flat_map(|(order, mails)| mails.iter().map(|mail| (*order, mail.clone())))
                .collect(),
            unsent: state.unsent.len(),
        })
    }
}

fn event_of(body: &OutboxBody) -> Option<Event> {
    match body {
        OutboxBody::Event(event) => Some(event.clone()),
        OutboxBody::Command { .. } | OutboxBody::Unreadable(_) => None,
    }
}
