//! One order in one timeline: request, events, outbox, jobs, payment, refunds, mails, webhook attempts.
//!
//! Guarantees: reads only, and of payments the committed state, which disturbs no decision. Names and addresses of
//! customers are shown to those who see payloads. Does not show what a queue has not run yet: jobs are found by their
//! attempts, and those that wait for another one are asked for by id.

use std::collections::BTreeMap;

use axum::{
    extract::{Path, State},
    response::Response,
};
use base::Timestamp;
use jobs::{
    JobId,
    records::{AttemptOutcome, AttemptRecord, RecordFilter},
};
use serde::Serialize;
use store::{
    domain::{Decision, Order, OrderId, Payment, PaymentAttempt, PaymentId, RefundState},
    orders::MailSubject,
    outbox::SetAside,
};

use super::{
    job_list::{JobSummary, state_cell},
    operation_form::{Action, action_form},
};
use crate::{
    access::Role,
    answer::{Asked, View, Visitor, parsed},
    cells::{path, span},
    error::ConsoleError,
    page::{Cell, Facts, Page, Table},
    state::{Console, ConsoleState},
    timeline::{TimelineEntry, timeline_table},
};

/// Kinds of items that are sent again for an order, where the console has them, and the button of each.
const SENT_AGAIN: [(&str, &str); 2] =
    [("webhooks", "Send given-up webhooks again"), ("mails", "Send refused mails again")];
/// Attempts of jobs looked at.
const ATTEMPTS_MAX: u32 = 1000;
/// Jobs asked for by id.
const JOBS_MAX: usize = 20;
/// Messages of the outbox looked at, of those that are set aside.
const SET_ASIDE_MAX: u32 = 1000;

pub(super) async fn order(
    State(Console(console)): State<Console>,
    asked: Asked,
    Path(id): Path<String>,
) -> Result<Response, ConsoleError> {
    let id: OrderId = parsed(&id)?;
    let Some(order) = console.parts.orders.order_by_id(id).await? else {
        return Err(ConsoleError::NotFound(format!("there is no order {id}")));
    };
    asked.answer(&gathered(&console, order, asked.visitor.sees_payloads).await?)
}

#[derive(Serialize)]
struct OrderPage {
    at: Timestamp,
    id: OrderId,
    merchant: String,
    status: &'static str,
    status_reason: Option<String>,
    currency: String,
    total_minor: i64,
    refunded_minor: i64,
    reference: Option<String>,
    trace_id: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// Name and address of the customer; `None` for visitors who do not see them.
    customer: Option<String>,
    payment: Option<PaymentSummary>,
    timeline: Vec<TimelineEntry>,
    /// Jobs of the order that wait, run or are dead.
    jobs: Vec<JobSummary>,
    /// Jobs that gave up, such as a mail that was refused, and were not started again.
    given_up: Vec<GivenUp>,
    /// Messages about the order that no relay could read.
    set_aside: Vec<SetAside>,
    /// Items and buttons of [`SENT_AGAIN`] that this console has.
    #[serde(skip)]
    sent_again: Vec<(&'static str, &'static str)>,
}

#[derive(Serialize)]
struct PaymentSummary {
    id: PaymentId,
    state: &'static str,
    provider: String,
    amount_minor: i64,
    /// The provider's id of the charge, or the code of its refusal.
    reference: Option<String>,
}

/// A job that ended without having done its work.
#[derive(Serialize)]
struct GivenUp {
    job: JobId,
    kind: String,
    error: Option<String>,
}

async fn gathered(
    console: &ConsoleState,
    order: Order,
    sees_payloads: bool,
) -> Result<OrderPage, ConsoleError> {
    let (parts, id) = (&console.parts, order.id);
    let orders = &parts.orders;
    let filter =
        RecordFilter { subject: Some(id.to_string()), limit: ATTEMPTS_MAX, ..RecordFilter::default() };
    let attempts = parts.records.list(&filter).await?;
    let payment = parts.payments.committed_payment(PaymentId::of_order(id)).await?;
    let charges = match &payment {
        Some(payment) => parts.payments.attempts(payment.id).await?,
        None => Vec::new(),
    };
    let mut set_aside = orders.list_set_aside(SET_ASIDE_MAX).await?;
    set_aside.retain(|message| message.order == Some(id));
    let mut timeline = vec![TimelineEntry::new(order.created_at, "request", "order accepted")];
    timeline.extend(of_events(console, id).await?);
    timeline.extend(attempts.iter().map(TimelineEntry::of_attempt));
    if let Some(payment) = &payment {
        of_payment(&mut timeline, payment, &charges);
    }
    timeline.sort_by_key(|entry| entry.at);
    let last = last_attempts(&attempts);
    let Order { currency, customer, .. } = &order;
    let customer = sees_payloads.then(|| format!("{} <{}>", customer.name, customer.email));
    Ok(OrderPage {
        at: console.now(),
        id,
        merchant: order.merchant.to_string(),
        status: order.status.as_str(),
        status_reason: order.status_reason.clone(),
        currency: currency.to_string(),
        total_minor: order.total_minor,
        refunded_minor: order.refunded_minor,
        reference: order.reference.clone(),
        trace_id: order.trace.as_ref().map(base::TraceContext::trace_id),
        created_at: order.created_at,
        updated_at: order.updated_at,
        customer,
        payment: payment.map(summary),
        timeline,
        jobs: open_jobs(console, &last).await?,
        given_up: given_up(&last),
        set_aside,
        sent_again: SENT_AGAIN.into_iter().filter(|(kind, _)| has_items(console, kind)).collect(),
    })
}

fn has_items(console: &ConsoleState, kind: &str) -> bool {
    console.parts.items.iter().any(|items| items.name() == kind)
}

/// Events, mails and webhook attempts, by the order store.
async fn of_events(console: &ConsoleState, id: OrderId) -> Result<Vec<TimelineEntry>, ConsoleError> {
    let orders = &console.parts.orders;
    let mut entries = Vec::new();
    for event in orders.order_events(id, 0).await? {
        let text = format!("{} (sequence {})", event.kind.as_str(), event.sequence);
        let entry = TimelineEntry::new(event.at, "event", text);
        entries.push(TimelineEntry { detail: event.id.to_string(), ..entry });
    }
    for mail in orders.mails(MailSubject::Order(id)).await? {
        let entry = TimelineEntry::new(mail.sent_at, "mail", format!("{} sent", mail.template));
        entries.push(TimelineEntry { is_well: Some(true), ..entry });
    }
    for attempt in orders.attempts_of_order(id).await? {
        let answer = match (&attempt.status, &attempt.error) {
            (Some(status), _) => format!("answered {status}"),
            (None, Some(error)) => format!("failed: {error}"),
            (None, None) => "no answer".to_owned(),
        };
        let text = format!("attempt {} {answer}", attempt.attempt);
        let detail = format!("{} to {}, {}", attempt.event, attempt.endpoint, span(attempt.duration));
        let entry = TimelineEntry::new(attempt.at, "webhook", text);
        entries.push(TimelineEntry { detail, is_well: Some(attempt.delivered()), ..entry });
    }
    Ok(entries)
}

fn of_payment(timeline: &mut Vec<TimelineEntry>, payment: &Payment, charges: &[PaymentAttempt]) {
    let entry = |at, what, text: String| TimelineEntry::new(at, what, text);
    timeline.push(entry(payment.created_at, "payment", format!("opened at {}", payment.provider)));
    for charge in charges {
        // A charge that was answered has no note: its result is the decision.
        let note = charge.note.as_deref().map(|note| format!("{note}, ")).unwrap_or_default();
        let detail = format!("{note}in {}", charge.worker);
        let began = entry(charge.begun_at, "payment", format!("charge attempt {}", charge.epoch));
        timeline.push(TimelineEntry { detail, ..began });
    }
    if let Some(at) = payment.decided_at {
        let is_well = matches!(payment.decision, Some(Decision::Captured { .. }));
        let decided = entry(at, "payment", if is_well { "captured" } else { "declined" }.to_owned());
        let detail = reference(payment).unwrap_or_default();
        timeline.push(TimelineEntry { is_well: Some(is_well), detail, ..decided });
    }
    for refund in &payment.refunds {
        let (state, is_well) = match refund.state {
            RefundState::Open => ("open", None),
            RefundState::Done => ("done", Some(true)),
            RefundState::Failed => ("failed", Some(false)),
        };
        let text = format!("{} {} in minor units: {state}", refund.amount_minor, payment.currency);
        let began = entry(refund.begun_at, "refund", text);
        timeline.push(TimelineEntry { is_well, detail: refund.id.to_string(), ..began });
    }
}

fn reference(payment: &Payment) -> Option<String> {
    match &payment.decision {
        Some(Decision::Captured { provider_reference }) => Some(provider_reference.clone()),
        Some(Decision::Declined { code }) => Some(code.clone()),
        None => payment.charge.clone(),
    }
}

/// The token of the payment method is left out: it charges the customer.
fn summary(payment: Payment) -> PaymentSummary {
    PaymentSummary {
        id: payment.id,
        state: payment.state().as_str(),
        reference: reference(&payment),
        amount_minor: payment.amount_minor,
        provider: payment.provider,
    }
}

/// The last one of each job; attempts are the newest first.
fn last_attempts(attempts: &[AttemptRecord]) -> BTreeMap<JobId, &AttemptRecord> {
    let mut last = BTreeMap::new();
    for record in attempts {
        last.entry(record.job).or_insert(record);
    }
    last
}

fn given_up(last: &BTreeMap<JobId, &AttemptRecord>) -> Vec<GivenUp> {
    let given_up = last.values().filter(|record| record.outcome == AttemptOutcome::Cancelled);
    let of = |record: &&AttemptRecord| GivenUp {
        job: record.job,
        kind: record.kind.clone(),
        error: record.error.clone(),
    };
    given_up.map(of).collect()
}

/// Jobs whose last attempt did not end them, as far as the engine holds them.
async fn open_jobs(
    console: &ConsoleState,
    last: &BTreeMap<JobId, &AttemptRecord>,
) -> Result<Vec<JobSummary>, ConsoleError> {
    let mut jobs = Vec::new();
    for (id, _) in last.iter().filter(|(_, record)| is_open(record.outcome)).take(JOBS_MAX) {
        jobs.extend(console.parts.engine.find(*id).await?.map(JobSummary::from));
    }
    Ok(jobs)
}

fn is_open(outcome: AttemptOutcome) -> bool {
    !matches!(outcome, AttemptOutcome::Completed | AttemptOutcome::Cancelled)
}

impl View for OrderPage {
    fn page(&self, visitor: &Visitor) -> Page {
        let mut page = Page::new(format!("Order {}", self.id));
        for message in &self.set_aside {
            page.note(
                "bad",
                format!("Message {} ({}) cannot be read by the relay.", message.id, message.kind),
            );
        }
        for GivenUp { kind, error, .. } in &self.given_up {
            page.note("bad", format!("{kind} gave up: {}.", error.as_deref().unwrap_or("no reason told")));
        }
        page.push(timeline_table("Everything that happened, oldest first", &self.timeline, self.at));
        page.push(self.facts(visitor));
        if !self.jobs.is_empty() {
            let mut table =
                Table::new("Jobs that wait, run or are dead", ["Job", "Kind", "State", "Due", "Last error"]);
            for job in &self.jobs {
                let id = job.id.to_string();
                table.push([
                    Cell::link(id.as_str(), path("/jobs", &id)),
                    job.kind().into(),
                    state_cell(job.state),
                    Cell::optional_time(job.run_at, self.at),
                    job.last_error.as_deref().into(),
                ]);
            }
            page.push(table);
        }
        for &(items, button) in self.sent_again.iter().filter(|_| visitor.may(Role::Operator)) {
            let action = Action { items, verb: "retry", button, is_dangerous: false };
            let subject = vec![("subject", self.id.to_string())];
            page.push(action_form(&action, format!("{button}, of this order"), subject));
        }
        page
    }
}

impl OrderPage {
    fn facts(&self, visitor: &Visitor) -> Facts {
        let mut facts = Facts::new("The order");
        let hidden = "shown to admins, where console.show_payloads allows it";
        let customer = if visitor.sees_payloads { self.customer.as_deref() } else { Some(hidden) };
        facts.push("Status", self.status);
        facts.push("Reason", self.status_reason.as_deref());
        facts.push("Merchant", self.merchant.as_str());
        facts.push("Reference", self.reference.as_deref());
        facts.push("Total", format!("{} {} in minor units", self.total_minor, self.currency));
        facts.push("Refunded", format!("{} {} in minor units", self.refunded_minor, self.currency));
        facts.push("Customer", customer);
        if let Some(payment) = &self.payment {
            facts.push("Payment", format!("{} ({}) by {}", payment.state, payment.id, payment.provider));
            facts.push("Charge", payment.reference.as_deref());
        }
        facts.push("Placed", Cell::time(self.created_at, self.at));
        facts.push("Last changed", Cell::time(self.updated_at, self.at));
        facts.push("Trace id", self.trace_id.as_deref());
        facts
    }
}
