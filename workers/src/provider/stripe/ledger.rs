//! Ledger of Stripe: its captured intents and their refunds.
//!
//! Stripe lists intents newest first, by the time of their creation. So the ledger is read in windows of time, each
//! from the end of the one before to the grace before now, by Stripe's own clock: a window is paged down, and its
//! end is the next position. A position is `UNTIL` or, inside of a window, `FROM UNTIL INTENT`, in seconds.
//!
//! An intent that was created before a window ended and captured after it, as a bank debit is, is not seen again; its
//! order is, as long as its payment has no decision. Left out are intents refunded in full, which hold no money, and
//! those without an order in their metadata, which are not of this shop.

use std::time::Duration;

use async_trait::async_trait;
use base::{Timestamp, time::between};
use store::domain::OrderId;

use super::{
    amount::from_stripe,
    client::{Answer, List, StripeProvider},
    form::Form,
    intents::INTENTS,
    objects::Intent,
    refunds,
};
use crate::provider::{
    EntryKind, Ledger, LedgerEntry, LedgerPage, ProviderError, RefundOutcome, RefundReport, Result,
    capture_key, refund_key,
};

/// A window of creation times, and the intent after which to read on.
struct Window<'a> {
    from: i64,
    /// `None` until Stripe has told its time.
    until: Option<i64>,
    after: Option<&'a str>,
}

impl<'a> Window<'a> {
    fn at(position: Option<&'a str>) -> Result<Self> {
        let odd = ProviderError::Protocol { detail: "ledger_position" };
        let number = |text: &str| text.parse::<i64>().map_err(|_| odd);
        let mut parts = position.unwrap_or("0").split(' ');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(from), None, None) => Ok(Self { from: number(from)?, until: None, after: None }),
            (Some(from), Some(until), after @ Some(_)) => {
                Ok(Self { from: number(from)?, until: Some(number(until)?), after })
            }
            _ => Err(odd),
        }
    }
}

#[async_trait]
impl Ledger for StripeProvider {
    async fn page(&self, after: Option<&str>, grace: Duration) -> Result<LedgerPage> {
        let window = Window::at(after)?;
        let query = Form::new().with("created[gte]", window.from).with("expand[]", "data.latest_charge");
        let page: List<Intent> = match self.list(INTENTS, query, window.after).await? {
            Answer::Done(page) => page,
            Answer::Refused(error) => return Err(error.report("list_refused")),
        };
        let grace_seconds = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let now = self.now_at_stripe().as_second();
        let until = window.until.unwrap_or_else(|| now.saturating_sub(grace_seconds).max(window.from));
        let next = page.data.last().filter(|_| page.has_more);
        let position =
            next.map_or_else(|| until.to_string(), |last| format!("{} {until} {}", window.from, last.id));
        let old = page
            .data
            .iter()
            .filter(|intent| intent.created < until && intent.holds_money() && intent.order().is_some());
        let entries = old.map(|intent| self.charge(intent)).collect::<Result<_, _>>()?;
        Ok(LedgerPage { entries, position: Some(position), has_more: page.has_more })
    }

    fn lists_by_order(&self) -> bool {
        false
    }

    async fn of_order(&self, _order: OrderId, charge: Option<&str>) -> Result<Vec<LedgerEntry>> {
        let Some(id) = charge else { return Ok(Vec::new()) };
        let intent = self.read(id).await?;
        if !intent.has_succeeded() {
            return Ok(Vec::new());
        }
        let charge = self.charge(&intent)?;
        let refunds = refunds::of(self, id, charge.currency).await?;
        let refunds =
            refunds.into_iter().filter(|refund| matches!(refund.outcome, RefundOutcome::Done { .. }));
        let refunds: Vec<_> = refunds.map(|refund| refund_of(&charge, refund)).collect();
        Ok([charge].into_iter().chain(refunds).collect())
    }
}

impl StripeProvider {
    fn charge(&self, intent: &Intent) -> Result<LedgerEntry> {
        let odd = ProviderError::Protocol { detail: "unknown_amount" };
        let currency = intent.currency().ok_or(odd)?;
        // By our clock: what Stripe's is ahead or behind does not make it young or old.
        let age = between(Timestamp::from_second(intent.created).unwrap_or_default(), self.now_at_stripe());
        let at = self.now().checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(LedgerEntry {
            id: intent.id.clone(),
            movement: EntryKind::Charge,
            idempotency_key: intent.payment().map(capture_key).unwrap_or_default(),
            charge: intent.id.clone(),
            amount_minor: from_stripe(intent.amount, currency).ok_or(odd)?,
            currency,
            order: intent.order(),
            at,
        })
    }
}

fn refund_of(charge: &LedgerEntry, refund: RefundReport) -> LedgerEntry {
    LedgerEntry {
        id: refund.reference,
        movement: EntryKind::Refund,
        idempotency_key: refund.refund.map(refund_key).unwrap_or_default(),
        amount_minor: refund.amount_minor,
        ..charge.clone()
    }
}
