//! Memory of incremental audits.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use store::domain::OrderId;
use workers::{
    provider::{
        CaptureRequest, ChargeOutcome, ChargeQuery, Ledger, LedgerEntry, LedgerPage, PaymentProvider,
        ProviderError, RefundOutcome, RefundRequest, sandbox_client::SandboxProvider,
    },
    verify::{Code, Scope},
};

use super::deployment::{AuditDeployment, codes};
use crate::util::TestMerchant;

/// Ends the overlap of two minutes for commits in progress, which would hide the subject of a test.
async fn forget_the_overlap(town: &AuditDeployment) {
    let forget = "UPDATE audit_mark SET mark = json_set(mark, '$.until', '2099-01-01T00:00:00Z')";
    town.plant("orders.db", forget).await;
}

#[tokio::test]
async fn the_first_audit_looks_at_all_and_later_ones_at_what_changed() {
    let town = AuditDeployment::open().await;
    let (first, _) = (town.served().await, town.served().await);
    let (summary, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!((summary.orders, summary.payments, violations.len()), (2, 2, 0));
    town.plant("orders.db", &format!("DELETE FROM mails WHERE order_id = '{}'", first.id)).await;
    forget_the_overlap(&town).await;
    let (summary, _) = town.audit(Scope::Changed, false).await;
    assert_eq!((summary.orders, summary.payments), (0, 0));
    let (summary, violations) = town.audit(Scope::Full, false).await;
    assert_eq!((summary.orders, codes(&violations)), (2, vec![Code::MailMissing]));
    forget_the_overlap(&town).await;
    let (summary, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!((summary.orders, codes(&violations)), (1, vec![Code::MailMissing]), "until it is repaired");
    town.audit(Scope::Changed, true).await;
    town.work().await;
    let (_, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!(codes(&violations), []);
    let mark = town.shop.orders.audit_mark().await.expect("reads").expect("is there");
    assert_eq!(mark.again, [], "nothing is left to look at again");
    assert!(mark.ledger.is_some());
}

#[tokio::test]
async fn an_open_order_is_looked_at_until_it_ends() {
    let town = AuditDeployment::open().await;
    let order = town.shop.place("pm_card_visa").await;
    town.shop.drain_outbox().await;
    town.audit(Scope::Full, true).await;
    let (summary, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!((summary.open, violations.len()), (1, 0));
    let mark = town.shop.orders.audit_mark().await.expect("reads").expect("is there");
    assert_eq!(mark.again, [order.id]);
    town.work().await;
    town.audit(Scope::Changed, false).await;
    let mark = town.shop.orders.audit_mark().await.expect("reads").expect("is there");
    assert_eq!(mark.again, []);
}

#[tokio::test]
async fn a_charge_that_changed_nothing_here_is_found_by_the_next_audit() {
    let town = AuditDeployment::open().await;
    let order = town.served().await;
    town.audit(Scope::Changed, false).await;
    town.charge("by-hand", Some(order.id)).await;
    forget_the_overlap(&town).await;
    let (_, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!(codes(&violations), [Code::LedgerCaptureUnexpected]);
}

#[tokio::test]
async fn a_span_looks_at_what_changed_within_it_and_remembers_nothing() {
    let town = AuditDeployment::open().await;
    town.served().await;
    town.plant("orders.db", "DELETE FROM mails").await;
    let (summary, violations) = town.audit(Scope::Since(Duration::from_mins(5)), false).await;
    assert_eq!((summary.orders, codes(&violations)), (1, vec![Code::MailMissing]));
    assert_eq!(town.shop.orders.audit_mark().await.expect("reads"), None);
}

/// More entries than a page of orders, of the ledger, and of messages holds.
#[tokio::test]
async fn pages_are_scanned_to_their_end() {
    let town = AuditDeployment::open().await;
    let mut orders = Vec::new();
    for _ in 0..300 {
        orders.push(town.shop.place("pm_card_visa").await.id);
    }
    town.work().await;
    town.plant("orders.db", &format!("DELETE FROM mails WHERE order_id = '{}'", orders[299])).await;
    let (summary, violations) = town.audit(Scope::Full, false).await;
    assert_eq!((summary.orders, summary.payments, summary.ledger), (300, 300, Some(300)));
    assert_eq!(codes(&violations), [Code::MailMissing]);
    let (summary, violations) = town.audit(Scope::Since(Duration::from_mins(30)), false).await;
    assert_eq!((summary.orders, codes(&violations)), (300, vec![Code::MailMissing]));
}

/// The sandbox, whose ledger answers for so many pages.
struct CutOff {
    provider: SandboxProvider,
    pages: AtomicUsize,
}

#[async_trait]
impl PaymentProvider for CutOff {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError> {
        self.provider.capture(request).await
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        self.provider.find(charge).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome, ProviderError> {
        self.provider.refund(request).await
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }
}

#[async_trait]
impl Ledger for CutOff {
    async fn page(&self, after: Option<&str>, grace: Duration) -> Result<LedgerPage, ProviderError> {
        let left = self.pages.fetch_update(Relaxed, Relaxed, |pages| pages.checked_sub(1));
        left.map_err(|_| ProviderError::Unavailable { retry_after: None })?;
        self.provider.page(after, grace).await
    }

    async fn of_order(
        &self,
        order: OrderId,
        charge: Option<&str>,
    ) -> Result<Vec<LedgerEntry>, ProviderError> {
        self.provider.of_order(order, charge).await
    }
}

#[tokio::test]
async fn an_interrupted_audit_goes_on_from_its_last_page_of_the_ledger() {
    let shop = TestMerchant::open().await;
    let provider = Arc::new(CutOff { provider: shop.provider.clone(), pages: AtomicUsize::new(2) });
    let town = AuditDeployment::open_at(shop, provider.clone()).await;
    for _ in 0..250 {
        town.shop.place("pm_card_visa").await;
    }
    town.work().await;
    town.breaks_off(Scope::Changed).await;
    provider.pages.store(usize::MAX, Relaxed);
    forget_the_overlap(&town).await;
    let (summary, violations) = town.audit(Scope::Changed, false).await;
    assert_eq!((summary.ledger, codes(&violations)), (Some(50), Vec::new()), "two pages were read before");
    assert_eq!(summary.orders, 50, "those that the rest names");
}
