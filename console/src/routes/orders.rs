//! One order in one timeline: request, events, outbox, jobs, payment, refunds, mails, webhook attempts.
//!
//! Guarantees: reads only, and of payments the committed state, which disturbs no decision. Names and addresses of
//! customers are shown to those who see payloads. Where a list is cut, the page says so. Does not show what a queue has
//! not run yet: jobs are found by their attempts, and those that wait for another one are asked for by id.
//!
//! Next: `order_timeline.rs`, the entries.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    extract::{Path, State},
    response::Response,
};
use base::{Timestamp, time::between};
use jobs::{
    JobId,
    records::{AttemptOutcome, AttemptRecord, RecordFilter},
};
use serde::Serialize;
use store::{
    domain::{Order, OrderId, Payment, PaymentId},
    outbox::SetAside,
};

use super::{
    job_list::{JobSummary, state_cell},
    operation_form::{Action, action_form},
    order_timeline::{ATTEMPTS_MAX, OrderTimeline, reference},
};
use crate::{
    access::Role,
    answer::{Asked, View, Visitor, parsed},
    cells::{path, with_query},
    error::ConsoleError,
    page::{Cell, Facts, Link, Links, Page, Table},
    state::{Console, ConsoleState},
    timeline::{TimelineEntry, timeline_table},
};

/// Kinds of items that are sent again for an order, where the console has them, and the button of each.
const SENT_AGAIN: [(&str, &str); 2] =
    [("webhooks", "Send given-up webhooks again"), ("mails", "Send refused mails again")];
/// Jobs asked for by id.
const JOBS_MAX: usize = 20;
/// Messages of the outbox looked at, of those that are set aside.
const SET_ASIDE_MAX: u32 = 1000;
/// Age from which an unsent message is late: a relay that works takes a new one within a second.
const UNSENT_LATE: Duration = Duration::from_secs(10);

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
    /// What the timeline leaves out.
    notes: Vec<String>,
    /// Jobs of the order that wait, run or are dead.
    jobs: Vec<JobSummary>,
    /// Whether there are more of them.
    has_more_jobs: bool,
    /// Jobs that gave up, such as a mail that was refused, and were not started again.
    given_up: Vec<GivenUp>,
    /// When the oldest message about the order was written that no relay has published; `None` without one.
    unsent_since: Option<Timestamp>,
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
    let money = orders.order_money(id).await?;
    let (unsent_since, refunds) =
        money.map_or_else(Default::default, |money| (money.unsent_since, money.refunds));
    let mut timeline = OrderTimeline::new(&order);
    timeline.add_events(orders.as_ref()).await?;
    timeline.add_attempts(&attempts);
    if let Some(payment) = &payment {
        timeline.add_payment(payment, &charges);
    }
    timeline.add_refunds(&refunds);
    let (timeline, notes) = timeline.finish();
    let last = last_attempts(&attempts);
    let (jobs, has_more_jobs) = open_jobs(console, &last).await?;
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
        notes,
        jobs,
        has_more_jobs,
        given_up: given_up(&last),
        unsent_since,
        set_aside,
        sent_again: SENT_AGAIN.into_iter().filter(|(kind, _)| has_items(console, kind)).collect(),
    })
}

fn has_items(console: &ConsoleState, kind: &str) -> bool {
    console.parts.items.iter().any(|items| items.name() == kind)
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

/// Jobs whose last attempt did not end them, as far as the engine holds them, and whether there are more.
async fn open_jobs(
    console: &ConsoleState,
    last: &BTreeMap<JobId, &AttemptRecord>,
) -> Result<(Vec<JobSummary>, bool), ConsoleError> {
    let open = last.iter().filter(|(_, record)| is_open(record.outcome));
    let open: Vec<JobId> = open.map(|(id, _)| *id).collect();
    let mut jobs = Vec::new();
    for id in open.iter().take(JOBS_MAX) {
        jobs.extend(console.parts.engine.find(*id).await?.map(JobSummary::from));
    }
    Ok((jobs, open.len() > JOBS_MAX))
}

fn is_open(outcome: AttemptOutcome) -> bool {
    !matches!(outcome, AttemptOutcome::Completed | AttemptOutcome::Cancelled)
}

impl View for OrderPage {
    fn page(&self, visitor: &Visitor) -> Page {
        let mut page = Page::new(format!("Order {}", self.id));
        self.trouble(&mut page);
        for note in &self.notes {
            page.note("info", note.as_str());
        }
        page.push(timeline_table("Everything that happened, oldest first", &self.timeline, self.at));
        page.push(self.facts(visitor));
        page.push(self.job_table());
        if self.has_more_jobs {
            let href = with_query("/jobs", &[("q", self.id.to_string().as_str())]);
            let link = Link { text: "all that can be listed".to_owned(), href, is_current: false };
            page.push(Links { label: format!("There are more than {JOBS_MAX} of them"), links: vec![link] });
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
    /// What holds the order up, or has not been done.
    fn trouble(&self, page: &mut Page) {
        for message in &self.set_aside {
            page.note(
                "bad",
                format!("Message {} ({}) cannot be read by the relay.", message.id, message.kind),
            );
        }
        if let Some(since) = self.unsent_since {
            let class = if self.is_late(since) { "bad" } else { "info" };
            let since = Cell::time(since, self.at).text;
            let text = "no relay has published them yet.";
            page.note(class, format!("Messages of this order wait in the outbox since {since}: {text}"));
        }
        for GivenUp { kind, error, .. } in &self.given_up {
            page.note("bad", format!("{kind} gave up: {}.", error.as_deref().unwrap_or("no reason told")));
        }
    }

    fn is_late(&self, unsent_since: Timestamp) -> bool {
        between(unsent_since, self.at) >= UNSENT_LATE
    }

    fn job_table(&self) -> Table {
        let mut table = Table::new(
            "jobs",
            "Jobs that wait, run or are dead",
            ["Job", "Kind", "State", "Due", "Last error"],
        );
        "None of those that have begun an attempt.".clone_into(&mut table.empty);
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
        table
    }

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
        facts.push(
            "Outbox",
            match self.unsent_since {
                Some(since) if self.is_late(since) => Cell::marked("bad", Cell::time(since, self.at)),
                Some(since) => Cell::time(since, self.at),
                None => "all messages are published".into(),
            },
        );
        facts.push("Placed", Cell::time(self.created_at, self.at));
        facts.push("Last changed", Cell::time(self.updated_at, self.at));
        facts.push("Trace id", self.trace_id.as_deref());
        facts
    }
}
