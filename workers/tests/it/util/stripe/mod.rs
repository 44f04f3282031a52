//! Stand-in for Stripe with the states that its documentation names: intents that are confirmed in a second call and
//! held while a bank is asked, answers with status 500 that are kept under their key, refunds, disputes, a clock of its
//! own. What people do in its dashboard has the suffix `_by_hand`.
//! `/v1/ledger`, which Stripe does not have, lists what moved money in the form of the sandbox's ledger. The fault
//! suite of the binary runs this file, too.
//!
//! The payment method tells what becomes of a confirmation:
//!
//! | method | confirmation |
//! |---|---|
//! | `pm_card_visa` | succeeds |
//! | `pm_declined` | 402, `requires_payment_method` with `last_payment_error` |
//! | `pm_held` | is held until [`StripeServer::release`]; until then the intent shows [`StripeServer::show`] |
//! | `pm_slow` | is held for eight seconds |
//! | `pm_charged_500` | succeeds and answers 500, kept under the key |
//! | `pm_lost_500` | the first one answers 500 without effect, kept under the key |
//! | `pm_action` | `requires_action` |
//! | `pm_debit` | `processing` |

mod by_hand;
mod refunds;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{get, post},
};
use base::{Ambient, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;

/// How long a bank is asked about `pm_slow`: longer than a caller waits.
const SLOW: Duration = Duration::from_secs(8);

/// The server; clones share its records.
#[derive(Clone)]
pub(crate) struct StripeServer {
    pub(crate) url: String,
    shared: Arc<Stripe>,
}

struct Stripe {
    ambient: Ambient,
    skew_seconds: i64,
    records: Mutex<Records>,
    released: watch::Sender<bool>,
}

#[derive(Default)]
struct Records {
    intents: Vec<Value>,
    refunds: Vec<Value>,
    /// What moved money, oldest first.
    ledger: Vec<Value>,
    /// Intents whose charge is disputed: nothing of it can be refunded.
    disputed: HashSet<String>,
    /// Answers by idempotency key.
    kept: HashMap<String, (u16, Value)>,
    /// Intents in a call under way: another call meets a lock timeout.
    locked: HashSet<String>,
    /// Status that a held intent shows.
    shown: &'static str,
    calls: Vec<String>,
}

type Reply = (u16, Value);

impl StripeServer {
    /// `skew_seconds`: how far its clock is ahead of ours.
    pub(crate) async fn start(ambient: Ambient, skew_seconds: i64) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let records = Records { shown: "requires_confirmation", ..Records::default() };
        let shared = Arc::new(Stripe {
            ambient,
            skew_seconds,
            records: Mutex::new(records),
            released: watch::channel(false).0,
        });
        let app = Router::new()
            .route("/v1/payment_intents", post(create).get(list))
            .route("/v1/payment_intents/{id}", get(read))
            .route("/v1/payment_intents/{id}/confirm", post(confirm))
            .route("/v1/payment_intents/{id}/cancel", post(cancel))
            .route("/v1/refunds", post(refunds::create).get(refunds::list))
            .route("/v1/ledger", get(refunds::ledger))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { url, shared }
    }

    /// The status that a held intent shows.
    pub(crate) fn show(&self, status: &'static str) {
        self.shared.records().shown = status;
    }

    /// The bank answers: held confirmations succeed.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Forgets all idempotency keys, as Stripe does after a day.
    pub(crate) fn forget(&self) {
        self.shared.records().kept.clear();
    }

    /// Changes an intent as nothing of the shop would.
    pub(crate) fn change(&self, id: &str, member: &str, value: Value) {
        self.shared.records().intent(id).expect("an intent")[member] = value;
    }

    pub(crate) fn intents(&self) -> Vec<Value> {
        self.shared.records().intents.clone()
    }

    pub(crate) fn refunded(&self) -> Vec<Value> {
        self.shared.records().refunds.clone()
    }

    /// Method and path of each call, oldest first.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.shared.records().calls.clone()
    }
}

impl Stripe {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("whole")
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.ambient.now().as_second() + self.skew_seconds).expect("a time")
    }

    /// Answers a call, under its key where it has one.
    fn answer(
        &self,
        call: String,
        headers: &HeaderMap,
        effect: impl FnOnce(&mut Records) -> Reply,
    ) -> Response {
        let mut records = self.records();
        records.calls.push(call);
        let key = headers.get("idempotency-key").map(|key| key.to_str().expect("text").to_owned());
        if let Some(kept) = key.as_ref().and_then(|key| records.kept.get(key)) {
            return self.respond(kept.clone());
        }
        let reply = effect(&mut records);
        // Stripe keeps every answer of a call that began to execute, not that of a conflict.
        if let Some(key) = key.filter(|_| reply.0 != 429) {
            records.kept.insert(key, reply.clone());
        }
        self.respond(reply)
    }

    fn respond(&self, (status, body): Reply) -> Response {
        let date = self.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let builder = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
        builder.header("date", date).body(Body::from(body.to_string())).expect("an answer")
    }
}

impl Records {
    fn intent(&mut self, id: &str) -> Option<&mut Value> {
        let number: usize = id.strip_prefix("pi_")?.parse().ok()?;
        self.intents.get_mut(number.checked_sub(1)?)
    }

    fn captured(&mut self, intent: &Value) {
        let order = &intent["metadata"]["order_id"];
        self.ledger.push(json!({ "id": intent["id"], "type": "charge", "order_id": order }));
    }
}

fn error(status: u16, members: Value) -> Reply {
    (status, json!({ "error": members }))
}

fn missing(param: &str) -> Reply {
    error(404, json!({ "type": "invalid_request_error", "code": "resource_missing", "param": param }))
}

fn form(body: &str) -> HashMap<String, String> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

async fn create(State(shared): State<Arc<Stripe>>, headers: HeaderMap, body: String) -> Response {
    let (form, created) = (form(&body), shared.now().as_second());
    shared.answer("create".to_owned(), &headers, |records| {
        assert!(!form.contains_key("confirm"), "created and confirmed at once: {body}");
        let intent = json!({
            "id": format!("pi_{}", records.intents.len() + 1),
            "object": "payment_intent",
            "status": "requires_confirmation",
            "amount": form["amount"].parse::<i64>().expect("an amount"),
            "currency": form["currency"],
            "payment_method": form["payment_method"],
            "metadata": { "order_id": form["metadata[order_id]"], "payment_id": form["metadata[payment_id]"] },
            "created": created,
        });
        records.intents.push(intent.clone());
        (200, intent)
    })
}

async fn read(State(shared): State<Arc<Stripe>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    shared.answer(format!("read {id}"), &headers, |records| {
        let (held, shown) = (records.locked.contains(&id), records.shown);
        let Some(mut intent) = records.intent(&id).cloned() else { return missing("intent") };
        if held {
            intent["status"] = shown.into();
        }
        (200, intent)
    })
}

async fn confirm(State(shared): State<Arc<Stripe>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let held = {
        let mut records = shared.records();
        let is_locked = records.locked.contains(&id);
        let method = records
            .intent(&id)
            .filter(|intent| !is_locked && intent["status"] == "requires_confirmation")
            .and_then(|intent| intent["payment_method"].as_str().map(str::to_owned))
            .filter(|method| method == "pm_held" || method == "pm_slow");
        if method.is_some() {
            records.locked.insert(id.clone());
        }
        method
    };
    if let Some(method) = held {
        // The bank decides whether or not the caller waits.
        let shared = Arc::clone(&shared);
        let done = tokio::spawn(async move {
            if method == "pm_slow" {
                tokio::time::sleep(SLOW).await;
            } else {
                shared.released.subscribe().wait_for(|released| *released).await.expect("the sender lives");
            }
            let mut records = shared.records();
            records.locked.remove(&id);
            records.calls.push(format!("confirm {id}"));
            let intent = records.intent(&id).expect("an intent");
            intent["status"] = "succeeded".into();
            let intent = intent.clone();
            records.captured(&intent);
            shared.respond((200, intent))
        });
        return done.await.expect("answers");
    }
    shared.answer(format!("confirm {id}"), &headers, |records| {
        if records.locked.contains(&id) {
            return error(429, json!({ "code": "lock_timeout" }));
        }
        let this_call = records.calls.last().cloned().unwrap_or_default();
        let first_500 = records.calls.iter().filter(|call| **call == this_call).count() == 1;
        let Some(intent) = records.intent(&id) else { return missing("intent") };
        if intent["status"] != "requires_confirmation" {
            let body = json!({ "code": "payment_intent_unexpected_state", "payment_intent": intent });
            return error(400, body);
        }
        let failed =
            json!({ "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds" });
        let (status, reply) = match intent["payment_method"].as_str().expect("a method") {
            "pm_declined" => {
                intent["last_payment_error"] = failed.clone();
                ("requires_payment_method", Some(error(402, failed)))
            }
            "pm_charged_500" => ("succeeded", Some(error(500, json!({ "type": "api_error" })))),
            "pm_lost_500" if first_500 => {
                ("requires_confirmation", Some(error(500, json!({ "type": "api_error" }))))
            }
            "pm_action" => ("requires_action", None),
            "pm_debit" => ("processing", None),
            _ => ("succeeded", None),
        };
        intent["status"] = status.into();
        let intent = intent.clone();
        if status == "succeeded" {
            records.captured(&intent);
        }
        reply.unwrap_or((200, intent))
    })
}

async fn cancel(
    State(shared): State<Arc<Stripe>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    shared.answer(format!("cancel {id}"), &headers, |records| {
        if records.locked.contains(&id) {
            return error(429, json!({ "code": "lock_timeout" }));
        }
        let Some(intent) = records.intent(&id) else { return missing("intent") };
        if matches!(intent["status"].as_str(), Some("succeeded" | "canceled" | "processing")) {
            return error(
                400,
                json!({ "code": "payment_intent_unexpected_state", "payment_intent": intent }),
            );
        }
        intent["status"] = "canceled".into();
        intent["cancellation_reason"] = form(&body)["cancellation_reason"].clone().into();
        (200, intent.clone())
    })
}

/// Newest first, as Stripe's lists.
fn page(all: &[Value], asked: &HashMap<String, String>) -> Reply {
    let number = |name: &str| asked.get(name).map(|text| text.parse::<i64>().expect("a number"));
    let (from, until) = (number("created[gte]").unwrap_or(0), number("created[lt]").unwrap_or(i64::MAX));
    let within = |entry: &&Value| entry["created"].as_i64().is_some_and(|at| (from..until).contains(&at));
    let mut data: Vec<&Value> = all.iter().rev().filter(within).collect();
    if let Some(after) = asked.get("starting_after") {
        let position = data.iter().position(|entry| entry["id"] == **after).expect("an entry of the list");
        data.drain(..=position);
    }
    let limit = usize::try_from(number("limit").unwrap_or(10)).expect("a limit");
    let has_more = data.len() > limit;
    data.truncate(limit);
    (200, json!({ "object": "list", "data": data, "has_more": has_more }))
}

async fn list(
    State(shared): State<Arc<Stripe>>,
    Query(asked): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    shared.answer("list".to_owned(), &headers, |records| page(&records.intents, &asked))
}
