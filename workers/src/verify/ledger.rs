//! The provider's ledger: its entries, compared with orders and payments.

use std::time::Duration;

use store::domain::{OrderId, Payment, PaymentId};

use super::{
    Audit,
    error::VerifyError,
    facts::charge_of,
    finding::{Code, Repair, Violation},
    scan::{Named, Progress},
};
use crate::provider::{EntryKind, Ledger, LedgerEntry, ProviderError};

/// Repetitions and waits of a read that meets the provider's rate limit.
const RATE_LIMITED_MAX: u32 = 10;
const RATE_LIMITED_WAIT: Duration = Duration::from_secs(1);
const RATE_LIMITED_WAIT_MAX: Duration = Duration::from_secs(10);

impl Audit<'_> {
    /// Checks the ledger up to the grace, and the orders that its entries name; returns the position from which the
    /// next audit goes on. A change at the provider need not have changed anything here. What no look at an order
    /// finds again holds the position back.
    pub(super) async fn ledger_after(
        &mut self,
        mut after: Option<String>,
        named: Named,
        course: &mut Progress,
    ) -> Result<Option<String>, VerifyError> {
        let Some(ledger) = self.ledger else { return Ok(after) };
        let mut held = None;
        loop {
            let (before, found) = (after.clone(), self.summary.total());
            let page = patiently(|| ledger.page(after.as_deref(), self.plan.grace)).await?;
            after = page.position.or(after);
            let orders = self.entries(&page.entries, named, course).await?;
            self.page = page.entries;
            self.orders(&orders, self.before, course).await?;
            self.page.clear();
            if !ledger.lists_by_order() && self.summary.total() > found {
                held.get_or_insert(before);
            }
            if !page.has_more {
                return Ok(held.unwrap_or(after));
            }
        }
    }

    /// Counts the entries, reports those of no order, and returns the orders to check.
    async fn entries(
        &mut self,
        entries: &[LedgerEntry],
        named: Named,
        course: &mut Progress,
    ) -> Result<Vec<OrderId>, VerifyError> {
        let kept_from = self.of.kept_from(self.of.kept.orders);
        let by_order = self.ledger.is_some_and(Ledger::lists_by_order);
        let mut orders = Vec::new();
        for entry in entries {
            *self.summary.ledger.get_or_insert(0) += 1;
            match entry.order {
                Some(order) if self.is_there(order).await? => {
                    let unrecorded = !by_order && !self.is_recorded(order, entry).await?;
                    if unrecorded || (named == Named::All && course.is_new(order)) {
                        orders.push(order);
                    }
                }
                _ if kept_from.is_some_and(|from| entry.at < from) => {}
                order => self.report(orphan(entry, order)).await?,
            }
        }
        orders.sort_unstable();
        orders.dedup();
        Ok(orders)
    }

    /// Whether a look at the order alone finds this entry: it is the payment's charge, or none.
    async fn is_recorded(&self, order: OrderId, entry: &LedgerEntry) -> Result<bool, VerifyError> {
        if entry.movement != EntryKind::Charge {
            return Ok(true);
        }
        let payment = self.of.payments.payment(PaymentId::of_order(order)).await?;
        Ok(payment.as_ref().and_then(charge_of) == Some(entry.id.as_str()))
    }

    /// The entries of an order, with those of the page that the ledger cannot find by order.
    pub(super) async fn entries_of(
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

fn orphan(entry: &LedgerEntry, order: Option<OrderId>) -> Violation {
    let way = match entry.movement {
        EntryKind::Charge => "charged",
        EntryKind::Refund => "given back",
    };
    let mut ids = vec![("entry", entry.id.clone())];
    ids.extend(order.map(|order| ("order", order.to_string())));
    let found = format!("{} {} {way} at {}", entry.amount_minor, entry.currency, entry.at);
    let repair = Repair::Manual("find out what it was for; give it back if nobody knows");
    Violation::new(Code::LedgerOrphan, ids, found, repair)
}

/// Repeats a read that met the provider's rate limit.
async fn patiently<T, F>(mut read: impl FnMut() -> F) -> Result<T, ProviderError>
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
