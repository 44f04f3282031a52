//! Facts about one order, from every store.

use store::{
    audit::{AuditedEndpoint, OrderMoney},
    domain::{Event, Order, OrderId, Payment, PaymentId, Refund},
    orders::MailRecord,
    webhooks::WebhookAttempt,
};

use crate::provider::LedgerEntry;

/// Most attempts in one listing; beyond it a missing one must be looked up by itself.
pub(super) const ATTEMPTS_LISTED_MAX: usize = 1000;

/// The records of one order.
pub(super) struct Facts {
    pub(super) order: Order,
    pub(super) money: OrderMoney,
    pub(super) payment: Option<Payment>,
    /// `None` where the provider's ledger cannot be read.
    pub(super) ledger: Option<Vec<LedgerEntry>>,
    pub(super) mails: Vec<MailRecord>,
    pub(super) events: Vec<Event>,
    pub(super) attempts: Vec<WebhookAttempt>,
    pub(super) endpoints: Vec<AuditedEndpoint>,
}

impl Facts {
    pub(super) fn refunds(&self) -> &[Refund] {
        self.payment.as_ref().map_or(&[], |payment| &payment.refunds)
    }

    /// Whether the listing holds all attempts.
    pub(super) fn lists_all_attempts(&self) -> bool {
        self.attempts.len() < ATTEMPTS_LISTED_MAX
    }
}
