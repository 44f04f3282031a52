//! Reading of the facts about one order.

use std::time::Duration;

use store::domain::{OrderId, Payment, PaymentId};

use super::{
    Audit,
    error::VerifyError,
    facts::{Facts, charge_of},
};
use crate::provider::{Ledger, LedgerEntry, ProviderError};

/// Repetitions and waits of a read of the ledger that meets the provider's rate limit.
const RATE_LIMITED_MAX: u32 = 10;
const RATE_LIMITED_WAIT: Duration = Duration::from_secs(1);
const RATE_LIMITED_WAIT_MAX: Duration = Duration::from_secs(10);

impl Audit<'_> {
    /// Reads the records of an order; `None` when there is no such order.
    pub(super) async fn facts(&self, id: OrderId) -> Result<Option<Facts>, VerifyError> {
        let orders = &self.of.orders;
        let Some(order) = orders.order_by_id(id).await? else { return Ok(None) };
        let Some(money) = orders.order_money(id).await? else { return Ok(None) };
        let payment = self.of.payments.payment(PaymentId::of_order(id)).await?;
        let ledger = match self.ledger {
            Some(ledger) => Some(self.entries_of(ledger, id, payment.as_ref()).await?),
            None => None,
        };
        let (mails, events) = (orders.mails(id.into()).await?, orders.order_events(id, 0).await?);
        let endpoints = orders.audited_endpoints(order.merchant).await?;
        let wanted = endpoints.iter().any(|endpoint| endpoint.enabled);
        let attempts = if wanted { orders.attempts_of_order(id).await? } else { Vec::new() };
        Ok(Some(Facts { order, money, payment, ledger, mails, events, attempts, endpoints }))
    }

    /// The entries of an order, with those of the page that the ledger cannot find by order.
    async fn entries_of(
        &self,
        ledger: &dyn Ledger,
        id: OrderId,
        payment: Option<&Payment>,
    ) -> Result<Vec<LedgerEntry>, VerifyError> {
        let mut entries = patiently(|| ledger.of_order(id, payment.and_then(charge_of))).await?;
        let others = self.page.iter().filter(|entry| entry.order == Some(id));
        let others: Vec<_> =
            others.filter(|entry| entries.iter().all(|known| known.id != entry.id)).collect();
        entries.extend(others.into_iter().cloned());
        Ok(entries)
    }
}

/// Repeats a read of the ledger that met the provider's rate limit.
pub(super) async fn patiently<T, F>(mut read: impl FnMut() -> F) -> Result<T, ProviderError>
where
    F: Future<Output = Result<T, ProviderError>>,
{
    for _ in 0..RATE_LIMITED_MAX {
        match read().await {
            Err(ProviderError::RateLimited { retry_after }) => {
                tokio::time::sleep(retry_after.unwrap_or(RATE_LIMITED_WAIT).min(RATE_LIMITED_WAIT_MAX)).await;
            }
            answer => return answer,
        }
    }
    read().await
}
