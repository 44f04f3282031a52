//! Facts about one order, from every store.

use store::{
    audit::{AuditedEndpoint, OrderMoney},
    domain::{Decision, Event, Order, Payment, Refund},
    orders::MailRecord,
    webhooks::WebhookAttempt,
};

use crate::provider::LedgerEntry;

/// Most attempts in one listing; beyond it a missing one must be looked up by itself.
pub(super) const ATTEMPTS_LISTED_MAX: usize = 1000;

pub(super) struct Facts {
    pub(super) order: Order,
    pub(super) money: OrderMoney,
    pub(super) payment: Option<Payment>,
    /// Whether the payment is at another provider than the one whose ledger is read, or, being of nothing, at none.
    pub(super) elsewhere: bool,
    /// `None` where the provider's ledger cannot be read.
    pub(super) ledger: Option<Vec<LedgerEntry>>,
    pub(super) mails: Vec<MailRecord>,
    pub(super) events: Vec<Event>,
    pub(super) attempts: Vec<WebhookAttempt>,
    pub(super) endpoints: Vec<AuditedEndpoint>,
}

/// The provider's reference of a captured payment.
pub(super) fn captured_as(payment: &Payment) -> Option<&str> {
    match payment.decision.as_ref()? {
        Decision::Captured { provider_reference } => Some(provider_reference),
        Decision::Declined { .. } => None,
    }
}

/// The provider's reference of a payment's charge, captured or not.
pub(super) fn charge_of(payment: &Payment) -> Option<&str> {
    captured_as(payment).or(payment.charge.as_deref())
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
