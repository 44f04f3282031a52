//! Facts about one order, from every store.

use store::{
    audit::{AuditedEndpoint, OrderMoney},
    domain::{Event, Order, OrderId, Payment, PaymentId, Refund},
    orders::MailRecord,
    webhooks::WebhookAttempt,
};

use super::{Audit, error::VerifyError};
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

impl Audit<'_> {
    /// Reads the records of an order; `None` when there is no such order.
    pub(super) async fn facts(&self, id: OrderId) -> Result<Option<Facts>, VerifyError> {
        let orders = &self.of.orders;
        let Some(order) = orders.order_by_id(id).await? else { return Ok(None) };
        let Some(money) = orders.order_money(id).await? else { return Ok(None) };
        let payment = self.of.payments.payment(PaymentId::of_order(id)).await?;
        let ledger = match self.ledger {
            Some(ledger) => Some(ledger.of_order(id).await?),
            None => None,
        };
        let (mails, events) = (orders.mails(id.into()).await?, orders.order_events(id, 0).await?);
        let endpoints = orders.audited_endpoints(order.merchant).await?;
        let wanted = endpoints.iter().any(|endpoint| endpoint.enabled);
        let attempts = if wanted { orders.attempts_of_order(id).await? } else { Vec::new() };
        Ok(Some(Facts { order, money, payment, ledger, mails, events, attempts, endpoints }))
    }
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
