//! Order timeline: `GET /v1/orders/{id}/timeline`, all records of an order, merged and sorted.

use axum::{Json, extract::State};
use base::Timestamp;
use jobs::records::{AttemptRecord, RecordFilter};
use serde::Serialize;
use store::{
    domain::{Decision, Event, Order, OrderId, Payment, PaymentAttempt, PaymentId, RefundState},
    orders::MailRecord,
    webhooks::WebhookAttempt,
};
use utoipa::ToSchema;

use crate::{input::PathText, order_access::OrderCaller, problem::Problem, state::ApiState};

/// Job attempts shown at most; the newest are kept.
const RECORDS_MAX: u32 = 1000;
/// Characters of an error shown at most.
const ERROR_CHARS_MAX: usize = 200;

/// All that happened to an order, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Timeline {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<Entry>,
    /// Always false: a timeline is one page.
    has_more: bool,
    /// Sources that did not answer (`payments`, `jobs`); their entries are missing.
    incomplete: Vec<&'static str>,
}

/// An entry of a timeline.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineEntry)]
struct Entry {
    /// Time of the entry.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[serde(flatten)]
    what: What,
}

impl Entry {
    /// The entry without what concerns the merchant only.
    fn for_customer(self) -> Option<Self> {
        let what = match self.what {
            What::Request { .. } => What::Request { trace_id: None },
            told @ (What::Event { .. }
            | What::PaymentDecided { .. }
            | What::Refund { .. }
            | What::Email { .. }) => told,
            What::PaymentOpened { .. }
            | What::PaymentAttempt { .. }
            | What::JobAttempt { .. }
            | What::WebhookAttempt { .. } => return None,
        };
        Some(Self { at: self.at, what })
    }
}

/// Content of an entry, by `type`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TimelineWhat)]
#[serde(tag = "type", rename_all = "snake_case")]
enum What {
    /// The order was accepted.
    Request { trace_id: Option<String> },
    /// An event was written.
    Event { event: String, kind: &'static str, sequence: u64 },
    /// A payment was opened.
    PaymentOpened { payment: String, provider: String, amount_minor: i64 },
    /// A payment was attempted.
    PaymentAttempt { attempt: u64, note: Option<String> },
    /// A payment was captured or declined.
    PaymentDecided { outcome: &'static str, code: Option<String> },
    /// A refund was begun; `status` is its state so far: `open`, `done` or `failed`.
    Refund { refund: String, amount_minor: i64, status: &'static str },
    /// A background job ran.
    JobAttempt {
        job: String,
        kind: String,
        queue: String,
        attempt: u32,
        /// `completed`, `retried`, `snoozed`, `cancelled`, `dead`, or `stale` without effect: its lease was lost.
        #[schema(value_type = String)]
        outcome: jobs::records::AttemptOutcome,
        duration_ms: u64,
        error: Option<String>,
    },
    /// A mail was handed to the mail server.
    Email { template: String },
    /// A webhook was sent.
    WebhookAttempt {
        endpoint: String,
        event: String,
        attempt: u32,
        /// The receiver's HTTP status.
        status: Option<u16>,
        /// Why there is no status, as a stable code.
        error: Option<String>,
        delivered: bool,
        duration_ms: u64,
    },
}

/// Read the timeline of an order
///
/// With a publishable key, and the order's token or its customer's session, it shows the request, events, mails, the
/// payment's outcome and refunds; with a secret key also every attempt, job and webhook.
#[utoipa::path(
    get, path = "/v1/orders/{id}/timeline", tag = "orders",
    params(
        ("id" = String, Path, description = "`ord_…`"),
        ("Orderworks-Order-Token" = Option<String>, Header, description = "`owt_…`, shown when it was placed"),
        ("Orderworks-Session" = Option<String>, Header, description = "`ows_…`"),
    ),
    responses((status = 200, description = "Oldest first", body = Timeline)),
)]
pub(super) async fn get_timeline(
    State(state): State<ApiState>,
    caller: OrderCaller,
    PathText(id): PathText,
) -> Result<Json<Timeline>, Problem> {
    let order = caller.order(&state, &id).await?;
    let id = order.id;
    let internals = async {
        if caller.is_customer() {
            return (Ok(Vec::new()), Some(Vec::new()));
        }
        futures::join!(state.orders.attempts_of_order(id), record_entries(&state, id))
    };
    let (events, mails, payment, (webhooks, records)) = futures::join!(
        state.orders.order_events(id, 0),
        state.orders.mails(id.into()),
        payment_entries(&state, id),
        internals,
    );
    let mut incomplete = Vec::new();
    let mut data = vec![request(&order)];
    data.extend(events?.into_iter().filter(|event| caller.is_told(event.kind)).map(event));
    data.extend(mails?.into_iter().map(mail));
    data.extend(webhooks?.into_iter().map(webhook));
    for (source, entries) in [("payments", payment), ("jobs", records)] {
        match entries {
            Some(entries) => data.extend(entries),
            None => incomplete.push(source),
        }
    }
    if caller.is_customer() {
        data = data.into_iter().filter_map(Entry::for_customer).collect();
    }
    // Stable: entries of the same millisecond stay in the causal order in which they were added.
    data.sort_by_key(|entry| entry.at);
    Ok(Json(Timeline { object: "list", data, has_more: false, incomplete }))
}

/// `None` when the payment store is unavailable: the rest is useful without it.
async fn payment_entries(state: &ApiState, order: OrderId) -> Option<Vec<Entry>> {
    let id = PaymentId::of_order(order);
    let (payment, attempts) =
        futures::join!(state.payments.committed_payment(id), state.payments.attempts(id));
    match (payment, attempts) {
        (Ok(payment), Ok(attempts)) => {
            let attempts = attempts.into_iter().map(payment_attempt);
            Some(payment.iter().flat_map(payment_facts).chain(attempts).collect())
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(error = %error, order.id = %order, "timeline incomplete: payments cannot be read");
            None
        }
    }
}

async fn record_entries(state: &ApiState, order: OrderId) -> Option<Vec<Entry>> {
    let subject = Some(order.to_string());
    let filter = RecordFilter { subject, limit: RECORDS_MAX, ..RecordFilter::default() };
    match state.records.list(&filter).await {
        Ok(records) => Some(records.into_iter().map(job_attempt).collect()),
        Err(error) => {
            tracing::warn!(error = %error, order.id = %order, "timeline incomplete: job records cannot be read");
            None
        }
    }
}

fn request(order: &Order) -> Entry {
    let trace_id = order.trace.as_ref().map(base::TraceContext::trace_id);
    Entry { at: order.created_at, what: What::Request { trace_id } }
}

fn event(event: Event) -> Entry {
    let what =
        What::Event { event: event.id.to_string(), kind: event.kind.as_str(), sequence: event.sequence };
    Entry { at: event.at, what }
}

fn mail(mail: MailRecord) -> Entry {
    Entry { at: mail.sent_at, what: What::Email { template: mail.template } }
}

fn webhook(attempt: WebhookAttempt) -> Entry {
    let what = What::WebhookAttempt {
        endpoint: attempt.endpoint.to_string(),
        event: attempt.event.to_string(),
        attempt: attempt.attempt,
        status: attempt.status,
        delivered: attempt.delivered(),
        duration_ms: millis(attempt.duration),
        error: attempt.error,
    };
    Entry { at: attempt.at, what }
}

fn payment_facts(payment: &Payment) -> Vec<Entry> {
    let opened = What::PaymentOpened {
        payment: payment.id.to_string(),
        provider: payment.provider.clone(),
        amount_minor: payment.amount_minor,
    };
    let decided = payment.decision.as_ref().map(|decision| {
        let (outcome, code) = match decision {
            Decision::Captured { .. } => ("captured", None),
            Decision::Declined { code } => ("declined", Some(code.clone())),
        };
        Entry {
            at: payment.decided_at.unwrap_or(payment.created_at),
            what: What::PaymentDecided { outcome, code },
        }
    });
    let refunds = payment.refunds.iter().map(|refund| {
        let status = match refund.state {
            RefundState::Open => "open",
            RefundState::Done => "done",
            RefundState::Failed => "failed",
        };
        let what = What::Refund { refund: refund.id.to_string(), amount_minor: refund.amount_minor, status };
        Entry { at: refund.begun_at, what }
    });
    let opened = Entry { at: payment.created_at, what: opened };
    std::iter::once(opened).chain(decided).chain(refunds).collect()
}

fn payment_attempt(attempt: PaymentAttempt) -> Entry {
    let note = attempt.note.map(|note| shortened(&note));
    Entry { at: attempt.begun_at, what: What::PaymentAttempt { attempt: attempt.epoch, note } }
}

fn job_attempt(record: AttemptRecord) -> Entry {
    let what = What::JobAttempt {
        job: record.job.to_string(),
        kind: record.kind,
        queue: record.queue,
        attempt: record.attempt,
        outcome: record.outcome,
        duration_ms: millis(record.duration),
        error: record.error.as_deref().map(shortened),
    };
    Entry { at: record.started_at, what }
}

fn shortened(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(ERROR_CHARS_MAX).collect()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
