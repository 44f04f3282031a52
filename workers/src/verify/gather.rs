//! Reading of the facts about one order.

use store::domain::{OrderId, PaymentId};

use super::{Audit, error::VerifyError, facts::Facts};
use crate::provider::PaymentProvider;

impl Audit<'_> {
    /// Reads the records of an order; `None` when there is no such order.
    pub(super) async fn facts(&self, id: OrderId) -> Result<Option<Facts>, VerifyError> {
        let orders = &self.of.orders;
        let Some(order) = orders.order_by_id(id).await? else { return Ok(None) };
        let Some(money) = orders.order_money(id).await? else { return Ok(None) };
        let payment = self.of.payments.payment(PaymentId::of_order(id)).await?;
        let provider = self.of.provider.as_deref().map(PaymentProvider::name);
        // The provider of the ledger would not know the charge of another one.
        let here = payment.as_ref().filter(|payment| Some(payment.provider.as_str()) == provider);
        let elsewhere = payment.is_some() && here.is_none();
        let ledger = match self.ledger {
            Some(ledger) => Some(self.entries_of(ledger, id, here).await?),
            None => None,
        };
        let (mails, events) = (orders.mails(id.into()).await?, orders.order_events(id, 0).await?);
        let endpoints = orders.audited_endpoints(order.merchant).await?;
        let wanted = endpoints.iter().any(|endpoint| endpoint.enabled);
        let attempts = if wanted { orders.attempts_of_order(id).await? } else { Vec::new() };
        Ok(Some(Facts { order, money, payment, elsewhere, ledger, mails, events, attempts, endpoints }))
    }
}
