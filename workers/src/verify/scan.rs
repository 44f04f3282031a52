//! Scan of the stores in pages, and the mark of incremental audits.
//!
//! Every change of an order writes a message into the outbox, so the messages since the last audit name the orders to
//! check. Orders that were open or wrong then are named by the mark. The mark stands at the start of the audit less the
//! grace: an order younger than that has a message after it. More open or wrong orders than a mark can name hold it
//! back.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use base::Timestamp;
use futures::stream::{self, StreamExt, TryStreamExt};
use store::{
    StoreError,
    audit::{AGAIN_MAX, AuditMark},
    domain::{EventId, OrderId},
};

use super::{
    AT_ONCE, Audit, Code, Examined, Finding, Repair, Scope, VerifyError, Violation, facts::Facts,
    gather::TOGETHER_MAX,
};

const ORDERS_PAGE: u32 = 256;
const MESSAGES_PAGE: u32 = 1000;
const PAGE: u32 = 500;
/// Longest time between the creation of a message id and its commit.
const COMMIT_MAX: Duration = Duration::from_mins(2);
/// Time between the two checks of a suspected violation: any step between two stores is shorter.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(1);
/// Most orders remembered within one run, so that an order with several messages is checked once.
const RECENT_MAX: usize = 100_000;

/// Which of the orders that the ledger names are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    All,
    /// Those with a charge that their payment does not record and that no look at the order alone finds.
    Unrecorded,
}

/// State that an incremental audit gathers for the next one.
#[derive(Default)]
pub(super) struct Progress {
    again: BTreeSet<OrderId>,
    recent: HashSet<OrderId>,
    /// Time at which the mark is held back.
    held_at: Option<Timestamp>,
}

impl Progress {
    /// Whether the order was not checked recently in this run.
    pub(super) fn is_new(&mut self, order: OrderId) -> bool {
        if self.recent.len() >= RECENT_MAX {
            self.recent.clear();
        }
        self.recent.insert(order)
    }

    fn remember(&mut self, order: OrderId, at: Timestamp) {
        if self.again.len() < AGAIN_MAX {
            self.again.insert(order);
        } else if !self.again.contains(&order) {
            self.held_at.get_or_insert(at);
        }
    }
}

impl Audit<'_> {
    /// Scans everything that the plan asks for.
    pub(super) async fn scan(&mut self) -> Result<(), VerifyError> {
        let mark = match self.plan.scope {
            Scope::Since(_) => None,
            Scope::Changed | Scope::Full => self.of.orders.audit_mark().await?,
        };
        let mut course = Progress::default();
        let ledger = match (self.plan.scope, &mark) {
            (Scope::Since(span), _) => {
                self.changed(self.of.ago(span), &mut course).await?;
                None
            }
            (Scope::Changed, Some(mark)) => {
                course.recent.extend(&mark.again);
                self.orders(&mark.again, Timestamp::UNIX_EPOCH, &mut course).await?;
                let from = mark.until.checked_sub(COMMIT_MAX).unwrap_or(Timestamp::UNIX_EPOCH);
                self.changed(from, &mut course).await?;
                self.ledger_after(mark.ledger.clone(), Named::All, &mut course).await?
            }
            (Scope::Changed | Scope::Full, _) => {
                self.all(&mut course).await?;
                self.payments().await?;
                self.ledger_after(None, Named::Unrecorded, &mut course).await?
            }
        };
        let stock = self.stock().await;
        self.or_unreadable(stock).await?;
        let outbox = self.outbox().await;
        self.or_unreadable(outbox).await?;
        if !matches!(self.plan.scope, Scope::Since(_)) {
            self.keep_mark(&course, ledger).await?;
        }
        Ok(())
    }

    /// Stores the mark from which the next audit goes on; after all orders were checked.
    pub(super) async fn keep_mark(
        &self,
        course: &Progress,
        ledger: Option<String>,
    ) -> Result<(), VerifyError> {
        let until = course.held_at.unwrap_or(self.before).min(self.before);
        let mark = AuditMark { until, again: course.again.iter().copied().collect(), ledger };
        Ok(self.of.orders.set_audit_mark(&mark).await?)
    }

    /// Reports corrupt data in a part of the scan as a violation, so that the other parts are scanned.
    async fn or_unreadable(&mut self, part: Result<(), VerifyError>) -> Result<(), VerifyError> {
        match part {
            Err(VerifyError::Store(StoreError::Corrupt { detail, .. })) => {
                self.report(Violation::new(Code::Unreadable, Vec::new(), detail, Repair::RESTORE)).await
            }
            other => other,
        }
    }

    async fn all(&mut self, course: &mut Progress) -> Result<(), VerifyError> {
        let mut after = None;
        let mut first = None;
        loop {
            let page = self.of.orders.all_orders(after, ORDERS_PAGE).await?;
            let Some(last) = page.last().copied() else { return Ok(()) };
            first = first.or(page.first().copied());
            after = Some(last);
            let at = made(last);
            self.orders(&page, at, course).await?;
            let part = first.and_then(|first| self.part(made(first), at));
            self.watch.progress(self.summary.orders, part);
        }
    }

    async fn changed(&mut self, from: Timestamp, course: &mut Progress) -> Result<(), VerifyError> {
        let mut after: Option<EventId> = None;
        loop {
            let page = self.of.orders.touched_orders(from, self.before, after, MESSAGES_PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            let at = base::ids::timestamp_of(last.0).unwrap_or(from);
            let orders: Vec<OrderId> =
                page.into_iter().map(|(_, order)| order).filter(|order| course.is_new(*order)).collect();
            self.orders(&orders, at, course).await?;
            self.watch.progress(self.summary.orders, self.part(from, at));
        }
    }

    /// Fraction of the time up to `before` that lies before `at`.
    fn part(&self, from: Timestamp, at: Timestamp) -> Option<f64> {
        let whole = self.before.duration_since(from).as_secs_f64();
        (whole > 0.0).then(|| (at.duration_since(from).as_secs_f64() / whole).clamp(0.0, 1.0))
    }

    /// Checks these orders; suspected violations twice.
    pub(super) async fn orders(
        &mut self,
        orders: &[OrderId],
        at: Timestamp,
        course: &mut Progress,
    ) -> Result<(), VerifyError> {
        let mut suspects = Vec::new();
        for (order, seen) in self.look_at_all(orders).await? {
            self.summary.orders += u64::from(!matches!(seen, Examined::Missing));
            match seen {
                Examined::Missing | Examined::Right => {}
                Examined::Young => self.summary.open += 1,
                Examined::Open => {
                    self.summary.open += 1;
                    course.remember(order, at);
                }
                Examined::Wrong(findings) => suspects.push((order, findings)),
            }
        }
        if suspects.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(SECOND_LOOK_AFTER).await;
        let ids: Vec<OrderId> = suspects.iter().map(|(order, _)| *order).collect();
        let mut first: HashMap<_, _> = suspects.into_iter().collect();
        for (order, seen) in self.look_at_all(&ids).await? {
            let before = first.remove(&order).unwrap_or_default();
            match seen {
                Examined::Missing | Examined::Right => {}
                Examined::Young | Examined::Open => {
                    self.summary.open += 1;
                    course.remember(order, at);
                }
                Examined::Wrong(findings) => {
                    course.remember(order, at);
                    let both = |finding: &Finding| before.iter().any(|other| other.is_same(finding));
                    for finding in findings.into_iter().filter(both) {
                        self.report(finding.violation).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Examines these orders, many together; those that are not stored may be left out. What cannot be read together,
    /// as one row does not read back or there are too many, is halved down to single orders.
    async fn look_at_all(&self, orders: &[OrderId]) -> Result<Vec<(OrderId, Examined)>, VerifyError> {
        let mut looked = Vec::with_capacity(orders.len());
        let mut pages: Vec<&[OrderId]> = orders.chunks(TOGETHER_MAX).rev().collect();
        while let Some(page) = pages.pop() {
            let facts = match self.facts_of_all(page).await {
                Err(VerifyError::Store(StoreError::Corrupt { .. })) => None,
                answer => answer?,
            };
            match (facts, page) {
                (Some(facts), _) => looked.extend(self.check_all(facts).await?),
                (None, [order]) => looked.push((*order, self.examine(*order).await?)),
                (None, _) => {
                    let (first, second) = page.split_at(page.len() / 2);
                    pages.extend([second, first]);
                }
            }
        }
        Ok(looked)
    }

    async fn check_all(&self, facts: Vec<Facts>) -> Result<Vec<(OrderId, Examined)>, VerifyError> {
        let checks =
            facts.into_iter().map(|facts| async move { Ok((facts.order.id, self.check(&facts).await?)) });
        stream::iter(checks).buffered(AT_ONCE).try_collect().await
    }

    /// Reports payments without an order.
    async fn payments(&mut self) -> Result<(), VerifyError> {
        let (kept_from, before) = (self.of.kept_from(self.of.kept.orders), self.before);
        let mut after = None;
        loop {
            let mut page = self.of.payments.scan(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            self.summary.payments += page.len() as u64;
            page.retain(|entry| {
                kept_from.is_none_or(|from| entry.created_at >= from) && entry.created_at < before
            });
            let missing = self.missing(page.iter().map(|entry| entry.order).collect()).await?;
            for entry in page.into_iter().filter(|entry| missing.contains(&entry.order)) {
                let found =
                    format!("{} {} opened at {}", entry.amount_minor, entry.currency, entry.created_at);
                let people = "restore the order from a backup, or give the money back";
                let finding = Finding::manual(entry.order, Code::PaymentOrphan, found, people);
                self.report(finding.with("payment", entry.id).violation).await?;
            }
        }
    }

    /// Those of the orders that are not stored.
    pub(super) async fn missing(&self, orders: Vec<OrderId>) -> Result<HashSet<OrderId>, VerifyError> {
        let stored = self.of.orders.stored_orders(&orders).await?;
        let mut missing: HashSet<OrderId> = orders.into_iter().collect();
        for order in stored {
            missing.remove(&order);
        }
        let suspects: Vec<OrderId> = missing.iter().copied().collect();
        for order in suspects {
            if self.is_there(order).await? {
                missing.remove(&order);
            }
        }
        Ok(missing)
    }

    /// Whether the order is stored; one that cannot be read back is.
    async fn is_there(&self, order: OrderId) -> Result<bool, VerifyError> {
        match self.of.orders.order_by_id(order).await {
            Ok(order) => Ok(order.is_some()),
            Err(StoreError::Corrupt { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Creation time of an order id.
fn made(order: OrderId) -> Timestamp {
    base::ids::timestamp_of(order.0).unwrap_or(Timestamp::UNIX_EPOCH)
}
