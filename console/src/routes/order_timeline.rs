//! Entries of the timeline of an order, out of all stores: events, mails, webhook attempts, attempts of its jobs,
//! payment and refunds.
//!
//! Guarantees: each kind of entries is bounded, and where the bound is reached a note says what is left out. Shows no
//! token of a payment method. Next: `orders.rs`, the page.

use base::Timestamp;
use jobs::records::AttemptRecord;
use store::{
    OrderStore,
    audit::{OrderRefund, RECORDS_MAX},
    domain::{Decision, Order, OrderId, Payment, PaymentAttempt, RefundState},
    orders::MailSubject,
    webhooks::WebhookAttempt,
};

use crate::{cells::span, error::ConsoleError, timeline::TimelineEntry};

/// Attempts of jobs looked at, the last ones.
pub(super) const ATTEMPTS_MAX: u32 = 1000;

/// Entries in any order, and what they leave out.
pub(super) struct OrderTimeline {
    order: OrderId,
    currency: String,
    entries: Vec<TimelineEntry>,
    notes: Vec<String>,
}

impl OrderTimeline {
    /// The request.
    pub(super) fn new(order: &Order) -> Self {
        let entries = vec![TimelineEntry::new(order.created_at, "request", "order accepted")];
        Self { order: order.id, currency: order.currency.to_string(), entries, notes: Vec::new() }
    }

    /// The entries by time, oldest first, and what they leave out.
    pub(super) fn finish(mut self) -> (Vec<TimelineEntry>, Vec<String>) {
        self.entries.sort_by_key(|entry| entry.at);
        (self.entries, self.notes)
    }

    /// Events, mails and webhook attempts, by the order store.
    pub(super) async fn add_events(&mut self, orders: &dyn OrderStore) -> Result<(), ConsoleError> {
        let events = orders.order_events(self.order, 0).await?;
        self.note_cut(events.len(), RECORDS_MAX, "events: the first ones are shown");
        for event in events {
            let text = format!("{} (sequence {})", event.kind.as_str(), event.sequence);
            self.add(event.at, "event", text, event.id.to_string(), None);
        }
        for mail in orders.mails(MailSubject::Order(self.order)).await? {
            self.add(mail.sent_at, "mail", format!("{} sent", mail.template), String::new(), Some(true));
        }
        let attempts = orders.attempts_of_order(self.order).await?;
        let which =
            "webhook attempts: the first ones are shown, later ones are among the attempts of its jobs";
        self.note_cut(attempts.len(), RECORDS_MAX, which);
        for attempt in &attempts {
            self.add_webhook(attempt);
        }
        Ok(())
    }

    fn add_webhook(&mut self, attempt: &WebhookAttempt) {
        let answer = match (&attempt.status, &attempt.error) {
            (Some(status), _) => format!("answered {status}"),
            (None, Some(error)) => format!("failed: {error}"),
            (None, None) => "no answer".to_owned(),
        };
        let text = format!("attempt {} {answer}", attempt.attempt);
        let detail = format!("{} to {}, {}", attempt.event, attempt.endpoint, span(attempt.duration));
        self.add(attempt.at, "webhook", text, detail, Some(attempt.delivered()));
    }

    /// Attempts of its jobs, of which [`ATTEMPTS_MAX`] were looked at.
    pub(super) fn add_attempts(&mut self, attempts: &[AttemptRecord]) {
        self.note_cut(attempts.len(), ATTEMPTS_MAX as usize, "attempts of its jobs: the last ones are shown");
        self.entries.extend(attempts.iter().map(TimelineEntry::of_attempt));
    }

    /// Charges, decision and refunds, by the payment store.
    pub(super) fn add_payment(&mut self, payment: &Payment, charges: &[PaymentAttempt]) {
        let opened = format!("opened at {}", payment.provider);
        self.add(payment.created_at, "payment", opened, String::new(), None);
        for charge in charges {
            // A charge that was answered has no note: its result is the decision.
            let note = charge.note.as_deref().map(|note| format!("{note}, ")).unwrap_or_default();
            let detail = format!("{note}in {}", charge.worker);
            self.add(charge.begun_at, "payment", format!("charge attempt {}", charge.epoch), detail, None);
        }
        if let Some(at) = payment.decided_at {
            let is_well = matches!(payment.decision, Some(Decision::Captured { .. }));
            let text = if is_well { "captured" } else { "declined" };
            self.add(at, "payment", text.to_owned(), reference(payment).unwrap_or_default(), Some(is_well));
        }
        for refund in &payment.refunds {
            let (state, is_well) = match refund.state {
                RefundState::Open => ("open", None),
                RefundState::Done => ("done", Some(true)),
                RefundState::Failed => ("failed", Some(false)),
            };
            let text = self.amount(refund.amount_minor, &format!("begun, now {state}"));
            self.add(refund.begun_at, "refund", text, refund.id.to_string(), is_well);
        }
    }

    /// When refunds were asked for and when their end was recorded, by the order store.
    pub(super) fn add_refunds(&mut self, refunds: &[OrderRefund]) {
        for refund in refunds {
            let ends = [
                (Some(refund.requested_at), "requested", None),
                (refund.recorded_at, "recorded as done", Some(true)),
                (refund.failed_at, "recorded as failed", Some(false)),
            ];
            for (at, what, is_well) in ends {
                if let Some(at) = at {
                    let text = self.amount(refund.amount_minor, what);
                    self.add(at, "refund", text, refund.id.to_string(), is_well);
                }
            }
        }
    }

    fn amount(&self, amount_minor: i64, what: &str) -> String {
        format!("{amount_minor} {} in minor units: {what}", self.currency)
    }

    fn add(
        &mut self,
        at: Timestamp,
        what: &'static str,
        text: String,
        detail: String,
        is_well: Option<bool>,
    ) {
        self.entries.push(TimelineEntry { detail, is_well, ..TimelineEntry::new(at, what, text) });
    }

    /// Notes which entries are shown, where a list is as long as it can be.
    fn note_cut(&mut self, found: usize, most: usize, which: &str) {
        if found >= most {
            self.notes.push(format!("There may be more than {most} {which}."));
        }
    }
}

/// The provider's id of the charge, or the code of its refusal.
pub(super) fn reference(payment: &Payment) -> Option<String> {
    match &payment.decision {
        Some(Decision::Captured { provider_reference }) => Some(provider_reference.clone()),
        Some(Decision::Declined { code }) => Some(code.clone()),
        None => payment.charge.clone(),
    }
}
