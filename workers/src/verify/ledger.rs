//! The provider's ledger: its entries, compared with orders and payments.

use std::{collections::HashMap, time::Duration};

use store::domain::{OrderId, Payment, PaymentId};

use super::{
    Audit, Scope,
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
    /// finds again holds the position back. An incremental audit stores the position after each page, so that the next
    /// one goes on there if this one is interrupted.
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
            let position = held.clone().unwrap_or_else(|| after.clone());
            if !page.has_more {
                return Ok(position);
            }
            if self.plan.scope == Scope::Changed {
                self.keep_mark(course, position).await?;
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
        let missing = self.missing(entries.iter().filter_map(|entry| entry.order).collect()).await?;
        let mut orders = Vec::new();
        for entry in entries {
            *self.summary.ledger.get_or_insert(0) += 1;
            match entry.order {
                Some(order) if !missing.contains(&order) => {
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

    /// The entries of these orders by order; `None` where the ledger is to be asked for each order.
    pub(super) async fn entries_of_all(
        &self,
        orders: &[OrderId],
    ) -> Result<Option<HashMap<OrderId, Vec<LedgerEntry>>>, VerifyError> {
        let Some(ledger) = self.ledger else { return Ok(None) };
        let Some(entries) = patiently(|| ledger.of_orders(orders)).await? else { return Ok(None) };
        let mut by_order = HashMap::<_, Vec<_>>::new();
        for entry in entries {
            if let Some(order) = entry.order {
                by_order.entry(order).or_default().push(entry);
            }
        }
        Ok(Some(by_order))
    }

    /// The entries of an order, read by themselves.
    pub(super) async fn entries_of(
        &self,
        ledger: &dyn Ledger,
        id: OrderId,
        payment: Option<&Payment>,
    ) -> Result<Vec<LedgerEntry>, VerifyError> {
        let entries = patiently(|| ledger.of_order(id, payment.and_then(charge_of))).await?;
        Ok(self.with_page(id, entries))
    }

    /// The entries of an order, with those of the page that the ledger cannot find by order.
    pub(super) fn with_page(&self, id: OrderId, mut entries: Vec<LedgerEntry>) -> Vec<LedgerEntry> {
        let others = self.page.iter().filter(|entry| entry.order == Some(id));
        let others: Vec<_> =
            others.filter(|entry| entries.iter().all(|known| known.id != entry.id)).collect();
        entries.extend(others.into_iter().cloned());
        entries
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
    let repair = Repair::Manual("find out what it was for; give it back if that stays unknown");
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
