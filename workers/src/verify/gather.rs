//! Reading of the facts about orders: about many together, or about one.

use std::collections::{HashMap, hash_map::Entry};

use futures::stream::{self, StreamExt, TryStreamExt};
use store::{
    audit::{AuditedEndpoint, OrderRecords},
    domain::{OrderId, Payment, PaymentId},
};

use super::{AT_ONCE, Audit, error::VerifyError, facts::Facts};
use crate::provider::{LedgerEntry, PaymentProvider};

/// Orders read together at most.
pub(super) const TOGETHER_MAX: usize = 128;

impl Audit<'_> {
    /// Reads the records of these orders by a few statements for all, without orders that are not stored. `None` where
    /// they cannot be read together.
    pub(super) async fn facts_of_all(&self, orders: &[OrderId]) -> Result<Option<Vec<Facts>>, VerifyError> {
        let Some(records) = self.of.orders.order_records(orders).await? else { return Ok(None) };
        let ids: Vec<PaymentId> =
            records.iter().map(|records| PaymentId::of_order(records.order.id)).collect();
        let payments = self.of.payments.payments(&ids).await?;
        let mut payments: HashMap<PaymentId, Payment> =
            payments.into_iter().map(|payment| (payment.id, payment)).collect();
        let mut endpoints = HashMap::new();
        for OrderRecords { order, .. } in &records {
            if let Entry::Vacant(entry) = endpoints.entry(order.merchant) {
                entry.insert(self.of.orders.audited_endpoints(order.merchant).await?);
            }
        }
        let mut ledger = self.entries_of_all(orders).await?;
        let mut all = Vec::with_capacity(records.len());
        for records in records {
            let id = records.order.id;
            let payment = payments.remove(&PaymentId::of_order(id));
            let endpoints = endpoints.get(&records.order.merchant).cloned().unwrap_or_default();
            let entries = ledger.as_mut().map(|ledger| ledger.remove(&id).unwrap_or_default());
            all.push(self.complete(records, payment, endpoints, entries));
        }
        stream::iter(all).buffered(AT_ONCE).try_collect().await.map(Some)
    }

    /// Reads the records of an order; `None` when there is no such order.
    pub(super) async fn facts(&self, id: OrderId) -> Result<Option<Facts>, VerifyError> {
        let orders = &self.of.orders;
        let Some(order) = orders.order_by_id(id).await? else { return Ok(None) };
        let Some(money) = orders.order_money(id).await? else { return Ok(None) };
        let payment = self.of.payments.payment(PaymentId::of_order(id)).await?;
        let (mails, events) = (orders.mails(id.into()).await?, orders.order_events(id, 0).await?);
        let endpoints = orders.audited_endpoints(order.merchant).await?;
        let attempts = if are_wanted(&endpoints) { orders.attempts_of_order(id).await? } else { Vec::new() };
        let records = OrderRecords { order, money, mails, events, attempts };
        self.complete(records, payment, endpoints, None).await.map(Some)
    }

    /// Adds the entries of the ledger, which is asked for them where they are not given.
    async fn complete(
        &self,
        records: OrderRecords,
        payment: Option<Payment>,
        endpoints: Vec<AuditedEndpoint>,
        entries: Option<Vec<LedgerEntry>>,
    ) -> Result<Facts, VerifyError> {
        let OrderRecords { order, money, mails, events, mut attempts } = records;
        let provider = self.of.provider.as_deref().map(PaymentProvider::name);
        // The provider of the ledger would not know the charge of another one.
        let here = payment.as_ref().filter(|payment| Some(payment.provider.as_str()) == provider);
        let elsewhere = payment.is_some() && here.is_none();
        let ledger = match (self.ledger, entries) {
            (None, _) => None,
            (Some(_), Some(entries)) => Some(self.with_page(order.id, entries)),
            (Some(ledger), None) => Some(self.entries_of(ledger, order.id, here).await?),
        };
        if !are_wanted(&endpoints) {
            attempts.clear();
        }
        Ok(Facts { order, money, payment, elsewhere, ledger, mails, events, attempts, endpoints })
    }
}

/// Whether attempts are checked.
fn are_wanted(endpoints: &[AuditedEndpoint]) -> bool {
    endpoints.iter().any(|endpoint| endpoint.enabled)
}
