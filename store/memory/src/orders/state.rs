//! Tables of the order store in memory. [`OrdersState::change_order`], [`OrdersState::change_product`] and
//! [`OrdersState::tell`] are the only methods that change rows, so the observer sees every change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base::Timestamp;
use store::{
    admission::WaitingRoom,
    audit::{AuditMark, Settlement},
    catalog::Product,
    checkout::CheckoutSettings,
    customers::{Account, ErasureRecord},
    domain::{
        CartId, CustomerId, EndpointId, Event, EventId, EventKind, MerchantId, Order, OrderId, OrderStatus,
        RefundId, VerificationId,
    },
    merchants::{KeyHash, MerchantRecord, StoredKey},
    orders::{CaptureFacts, MailRecord, MailSubject, NewLine},
    outbox::OutboxBody,
    rules::{
        Damage,
        messages::{COMMAND, Message, Messages},
        stock::{Stock, of_order},
        verifications::Row,
    },
    webhooks::{Endpoint, WebhookAttempt},
};
use tokio::sync::watch;

use crate::Observer;

/// Endpoint, event, attempt, time: the identity of an attempt.
pub(super) type AttemptKey = (EndpointId, EventId, u32, Timestamp);

pub(super) struct OrdersState {
    pub(super) merchants: BTreeMap<MerchantId, MerchantRecord>,
    /// Of merchants that have chosen something.
    pub(super) checkouts: BTreeMap<MerchantId, CheckoutSettings>,
    pub(super) keys: BTreeMap<KeyHash, StoredKey>,
    pub(super) products: BTreeMap<(MerchantId, String), ProductRow>,
    pub(super) reservations: BTreeMap<(MerchantId, CartId), ReservationRow>,
    pub(super) orders: BTreeMap<OrderId, OrderRow>,
    pub(super) idempotency: BTreeMap<(MerchantId, String), IdempotencyRow>,
    pub(super) refunds: BTreeMap<(OrderId, RefundId), RefundRow>,
    pub(super) mails: BTreeMap<MailSubject, Vec<MailRecord>>,
    /// The message at index `n` has the position `n + 1`.
    pub(super) outbox: Vec<OutboxRow>,
    /// Positions of messages not marked as sent.
    pub(super) unsent: BTreeSet<i64>,
    pub(super) endpoints: BTreeMap<EndpointId, Endpoint>,
    /// Time of the last change of an endpoint, for endpoints that were changed.
    pub(super) changed_at: BTreeMap<EndpointId, Timestamp>,
    pub(super) attempts: BTreeMap<AttemptKey, WebhookAttempt>,
    pub(super) customers: BTreeMap<CustomerId, Account>,
    pub(super) erasures: BTreeMap<(MerchantId, CustomerId), ErasureRecord>,
    pub(super) verifications: BTreeMap<VerificationId, VerificationRow>,
    pub(super) rooms: BTreeMap<MerchantId, WaitingRoom>,
    pub(super) audit_mark: Option<AuditMark>,
    /// Whether a failed refund counts as requested.
    pub(super) counts_failed_refunds: bool,
    /// Whether a message that is set aside counts as sent: a defect, see [`super::MemoryOrders::forgetful`].
    pub(super) forgets: bool,
    arrivals: Vec<watch::Sender<u64>>,
    observer: Arc<dyn Observer>,
}

pub(super) struct ProductRow {
    pub(super) product: Product,
    pub(super) event_sequence: u64,
}

pub(super) struct ReservationRow {
    pub(super) lines: Vec<NewLine>,
    pub(super) expires_at: Timestamp,
}

pub(super) struct OrderRow {
    pub(super) order: Order,
    /// Also set when the capture came after the order was cancelled.
    pub(super) capture: Option<CaptureFacts>,
    pub(super) settlements: Vec<Settlement>,
    /// Whether the provider has a bank debit of it under way.
    pub(super) has_debit: bool,
}

impl OrderRow {
    pub(super) fn captured_minor(&self) -> Option<i64> {
        self.capture.as_ref().map(|facts| facts.amount_minor)
    }

    /// Whether it is pending, and no bank debit keeps it from expiring.
    pub(super) fn may_expire(&self, debits_before: Option<Timestamp>) -> bool {
        self.order.status == OrderStatus::Pending
            && (!self.has_debit || debits_before.is_some_and(|before| self.order.created_at < before))
    }
}

pub(super) struct IdempotencyRow {
    pub(super) fingerprint: [u8; 32],
    pub(super) order: OrderId,
    pub(super) body: String,
    pub(super) created_at: Timestamp,
}

pub(super) struct RefundRow {
    pub(super) amount_minor: i64,
    /// Whether the request was for all that was left.
    pub(super) remainder: bool,
    pub(super) requested_at: Timestamp,
    pub(super) recorded_at: Option<Timestamp>,
    /// When it failed, and the code of the refusal.
    pub(super) failed: Option<(Timestamp, String)>,
}

pub(super) struct VerificationRow {
    pub(super) row: Row,
    pub(super) idempotency_key: Option<String>,
}

pub(super) struct OutboxRow {
    pub(super) body: OutboxBody,
    pub(super) merchant: MerchantId,
    pub(super) subject: String,
    pub(super) at: Timestamp,
    /// The relay that holds the message, and until when.
    pub(super) lease: Option<(String, Timestamp)>,
}

impl ProductRow {
    pub(super) fn stock(&self) -> Stock {
        Stock {
            sku: self.product.sku.clone(),
            name: self.product.name.clone(),
            price_minor: self.product.price_minor,
            on_hand: self.product.on_hand,
            reserved: self.product.reserved,
            low_stock_at: self.product.low_stock_at,
            event_sequence: self.event_sequence,
        }
    }
}

impl OrdersState {
    pub(super) fn new(observer: Arc<dyn Observer>) -> Self {
        Self {
            merchants: BTreeMap::new(),
            checkouts: BTreeMap::new(),
            keys: BTreeMap::new(),
            products: BTreeMap::new(),
            reservations: BTreeMap::new(),
            orders: BTreeMap::new(),
            idempotency: BTreeMap::new(),
            refunds: BTreeMap::new(),
            mails: BTreeMap::new(),
            outbox: Vec::new(),
            unsent: BTreeSet::new(),
            endpoints: BTreeMap::new(),
            changed_at: BTreeMap::new(),
            attempts: BTreeMap::new(),
            customers: BTreeMap::new(),
            erasures: BTreeMap::new(),
            verifications: BTreeMap::new(),
            rooms: BTreeMap::new(),
            audit_mark: None,
            counts_failed_refunds: false,
            forgets: false,
            arrivals: Vec::new(),
            observer,
        }
    }

    /// One channel per receiver: the receivers of a shared channel are woken in an order that cannot be replayed.
    pub(super) fn subscribe(&mut self) -> watch::Receiver<u64> {
        let (sender, receiver) = watch::channel(0);
        self.arrivals.retain(|other| !other.is_closed());
        self.arrivals.push(sender);
        receiver
    }

    pub(super) fn notify(&self) {
        for sender in &self.arrivals {
            sender.send_modify(|arrivals| *arrivals = arrivals.wrapping_add(1));
        }
    }

    pub(super) fn insert_order(&mut self, order: Order) {
        self.observer.order(None, &order);
        self.orders
            .insert(order.id, OrderRow { order, capture: None, settlements: Vec::new(), has_debit: false });
    }

    /// Changes a row and returns the order after it; damage when there is no such order.
    pub(super) fn change_order(
        &mut self,
        id: OrderId,
        at: Timestamp,
        change: impl FnOnce(&mut OrderRow),
    ) -> Result<Order, Damage> {
        let row = self.orders.get_mut(&id).ok_or_else(|| Damage(format!("order {id} is gone")))?;
        let before = row.order.clone();
        change(row);
        row.order.updated_at = at;
        self.observer.order(Some(&before), &row.order);
        Ok(row.order.clone())
    }

    /// An order of any merchant.
    pub(super) fn find_order(&self, id: OrderId) -> Option<Order> {
        self.orders.get(&id).map(|row| row.order.clone())
    }

    /// Releases the reservation of an order.
    pub(super) fn release(&mut self, order: &Order, at: Timestamp) -> Result<(), Damage> {
        for (sku, quantity) in of_order(order) {
            self.change_product(order.merchant, sku, at, |row| row.product.reserved -= quantity)?;
        }
        Ok(())
    }

    pub(super) fn insert_product(&mut self, merchant: MerchantId, product: Product) {
        self.observer.product(merchant, None, &product);
        self.products.insert((merchant, product.sku.clone()), ProductRow { product, event_sequence: 0 });
    }

    /// Changes a row; products are never deleted, so a missing one is damage.
    pub(super) fn change_product(
        &mut self,
        merchant: MerchantId,
        sku: &str,
        at: Timestamp,
        change: impl FnOnce(&mut ProductRow),
    ) -> Result<Stock, Damage> {
        let row = self.products.get_mut(&(merchant, sku.to_owned()));
        let row = row.ok_or_else(|| Damage(format!("product {merchant}/{sku} is gone")))?;
        let before = row.product.clone();
        change(row);
        row.product.updated_at = at;
        self.observer.product(merchant, Some(&before), &row.product);
        Ok(row.stock())
    }

    /// Writes messages, in the order they were added, and wakes the relays.
    pub(super) fn tell(&mut self, messages: Messages) -> Result<(), Damage> {
        let at = messages.at;
        for message in messages.rows {
            let (merchant, subject) = (message.merchant, message.subject.text.clone());
            let body = body_of(message, at)?;
            self.observer.message(&body);
            self.outbox.push(OutboxRow { body, merchant, subject, at, lease: None });
            self.unsent.insert(i64::try_from(self.outbox.len()).unwrap_or(i64::MAX));
        }
        self.notify();
        Ok(())
    }

    pub(super) fn row(&self, position: i64) -> Option<&OutboxRow> {
        self.outbox.get(index(position)?)
    }

    pub(super) fn row_mut(&mut self, position: i64) -> Option<&mut OutboxRow> {
        self.outbox.get_mut(index(position)?)
    }
}

fn index(position: i64) -> Option<usize> {
    usize::try_from(position).ok()?.checked_sub(1)
}

fn body_of(message: Message, at: Timestamp) -> Result<OutboxBody, Damage> {
    if message.kind == COMMAND {
        let command = serde_json::from_value(message.data).map_err(|error| Damage::column("data", error))?;
        let Message { id, merchant, trace, .. } = message;
        return Ok(OutboxBody::Command { id, merchant, command, trace });
    }
    let kind: EventKind = message.kind.parse().map_err(|error| Damage::column("kind", error))?;
    Ok(OutboxBody::Event(Event {
        id: message.id,
        merchant: message.merchant,
        order: message.order,
        kind,
        sequence: message.sequence.unwrap_or(0),
        at,
        data: message.data,
        trace: message.trace,
    }))
}
