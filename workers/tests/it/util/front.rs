//! Proxy before a server that records the calls: a real HTTP server that can fail, lose answers, or add to
//! `localstripe` the parts of Stripe's API that it lacks.
//!
//! [`Front::of_stripe`] adds these parts, each as Stripe's documentation has it:
//! - idempotency keys: `localstripe` has none. Answers are kept under their key and repeated, another body is refused;
//! - `automatic_payment_methods`, `off_session` at a confirmation and `cancellation_reason`: it refuses them. The
//!   latter is put into the answer.
//!
//! Two other deviations are left as they are, because the client copes with them: a decline has the type of a bad
//! request (its status, 402, is right), and an unknown payment method is a 404 without a code.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::Response,
};
use serde_json::{Value, json};

/// A recorded call.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedCall {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Status from the server behind; 0 when it was not called.
    pub(crate) status: u16,
}

impl ReceivedCall {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Treatment of a call, other than plain forwarding.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Forward the call and drop the answer.
    Swallow,
    /// Answer without forwarding.
    Answer(u16, Vec<(&'static str, &'static str)>, String),
    /// Forward the call and its answer.
    Pass,
}

/// A proxy before a server, see the module.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) url: String,
    shared: Arc<FrontShared>,
}

struct FrontShared {
    behind: Option<String>,
    stripe: bool,
    http: reqwest::Client,
    script: Mutex<VecDeque<Act>>,
    /// Status of every answer, unless 0.
    failing: AtomicU16,
    kept: Mutex<HashMap<String, (String, u16, Value)>>,
    seen: Mutex<Vec<ReceivedCall>>,
    pretended: Mutex<Option<&'static str>>,
}

impl Front {
    /// A proxy without a server: answers by script, then 500.
    pub(crate) async fn alone() -> Self {
        Self::start(None, false).await
    }

    /// A proxy that forwards everything unchanged.
    pub(crate) async fn of(behind: &str) -> Self {
        Self::start(Some(behind.to_owned()), false).await
    }

    /// A proxy before `localstripe`, with the parts that it lacks.
    pub(crate) async fn of_stripe(behind: &str) -> Self {
        Self::start(Some(behind.to_owned()), true).await
    }

    async fn start(behind: Option<String>, stripe: bool) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let shared = Arc::new(FrontShared {
            behind,
            stripe,
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
            script: Mutex::default(),
            failing: AtomicU16::new(0),
            kept: Mutex::default(),
            seen: Mutex::default(),
            pretended: Mutex::default(),
        });
        let app = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { url, shared }
    }

    /// Programs the treatment of the next calls, in order.
    pub(crate) fn then(&self, acts: impl IntoIterator<Item = Act>) {
        self.shared.script.lock().expect("whole").extend(acts);
    }

    /// Answers everything with this status; 0 forwards again.
    pub(crate) fn fail(&self, status: u16) {
        self.shared.failing.store(status, Ordering::SeqCst);
    }

    /// Forgets all idempotency keys, as Stripe does after a day.
    pub(crate) fn forget(&self) {
        self.shared.kept.lock().expect("whole").clear();
    }

    /// Sets this `status` in every payment intent that passes.
    pub(crate) fn pretend(&self, status: &'static str) {
        *self.shared.pretended.lock().expect("whole") = Some(status);
    }

    pub(crate) fn seen(&self) -> Vec<ReceivedCall> {
        self.shared.seen.lock().expect("whole").clone()
    }
}

async fn take(
    State(shared): State<Arc<FrontShared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = String::from_utf8(body.to_vec()).expect("text");
    let (path, query) = (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
    let place = {
        let mut seen = shared.seen.lock().expect("whole");
        seen.push(ReceivedCall { method, path, query, headers, body, status: 0 });
        seen.len() - 1
    };
    let failing = shared.failing.load(Ordering::SeqCst);
    let next = shared.script.lock().expect("whole").pop_front();
    let act = next.unwrap_or_else(|| match (failing, &shared.behind) {
        (0, Some(_)) => Act::Pass,
        (0, None) => Act::Answer(500, Vec::new(), String::new()),
        (status, _) => Act::Answer(status, Vec::new(), r#"{"error":{"type":"api_error"}}"#.to_owned()),
    });
    match act {
        Act::Answer(status, headers, body) => {
            let builder =
                headers.iter().fold(Response::builder().status(status), |builder, (name, value)| {
                    builder.header(*name, *value)
                });
            builder.body(Body::from(body)).expect("an answer")
        }
        Act::Pass => shared.pass(place).await,
        Act::Swallow => {
            shared.pass(place).await;
            std::future::pending().await
        }
    }
}

impl FrontShared {
    async fn pass(&self, place: usize) -> Response {
        let call = self.seen.lock().expect("whole")[place].clone();
        let key = call.header("idempotency-key").to_owned();
        if let Some((body, status, answer)) =
            self.kept.lock().expect("whole").get(&key).filter(|_| self.stripe)
        {
            let fits = *body == call.body;
            let reused = json!({ "error": { "type": "idempotency_error", "message": "another request" } });
            return respond(if fits { *status } else { 400 }, if fits { answer } else { &reused }, true);
        }
        let (status, mut answer) = self.ask(&call).await;
        self.seen.lock().expect("whole")[place].status = status;
        if self.stripe {
            adapt(&call, &mut answer);
        }
        if let Some(pretended) = *self.pretended.lock().expect("whole")
            && answer["object"] == "payment_intent"
        {
            answer["status"] = pretended.into();
        }
        if self.stripe && !key.is_empty() {
            self.kept.lock().expect("whole").insert(key, (call.body, status, answer.clone()));
        }
        respond(status, &answer, false)
    }

    async fn ask(&self, call: &ReceivedCall) -> (u16, Value) {
        let behind = self.behind.as_deref().expect("a server behind");
        let query = &call.query;
        let body = if self.stripe { without_unknown(&call.body) } else { call.body.clone() };
        let mut headers = call.headers.clone();
        for name in ["host", "content-length"] {
            headers.remove(name);
        }
        let request = self.http.request(call.method.clone(), format!("{behind}{}?{query}", call.path));
        let answer = request.headers(headers).body(body).send().await.expect("the server behind answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }
}

/// The pairs of a form that `localstripe` accepts.
fn without_unknown(form: &str) -> String {
    let unknown = ["automatic_payment_methods", "cancellation_reason", "off_session"];
    let pairs = form.split('&').filter(|pair| !unknown.iter().any(|name| pair.starts_with(name)));
    pairs.collect::<Vec<_>>().join("&")
}

fn adapt(call: &ReceivedCall, answer: &mut Value) {
    if call.path.ends_with("/cancel") && call.body.contains("cancellation_reason=abandoned") {
        answer["cancellation_reason"] = "abandoned".into();
    }
}

fn respond(status: u16, answer: &Value, replayed: bool) -> Response {
    let builder = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
    let builder = if replayed { builder.header("idempotent-replayed", "true") } else { builder };
    builder.header("content-type", "application/json").body(answer.to_string().into()).expect("an answer")
}
