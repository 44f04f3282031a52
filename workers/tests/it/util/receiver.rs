//! Receiver of a merchant: a real HTTP server that answers as programmed and returns the requests it got.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::sync::mpsc;

use super::soon;

/// One request, as received.
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

type Answers = Arc<Mutex<VecDeque<(StatusCode, Vec<(&'static str, String)>)>>>;

pub(crate) struct Receiver {
    pub(crate) url: String,
    answers: Answers,
    received: mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    /// Starts a receiver that answers 200 to everything unless programmed otherwise.
    pub(crate) async fn start() -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let answers = Answers::default();
        let app = Router::new().route("/hook", post(take)).with_state((sender, Arc::clone(&answers)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { url, answers, received }
    }

    /// Programs the answer to the next request.
    pub(crate) fn then(&self, status: u16, headers: &[(&'static str, &str)]) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let status = StatusCode::from_u16(status).expect("a status");
        self.answers.lock().expect("not poisoned").push_back((status, headers));
    }

    pub(crate) async fn next(&mut self) -> Received {
        soon("a webhook", self.received.recv()).await.expect("the receiver runs")
    }

    /// Whether no further request has come in.
    pub(crate) fn is_empty(&self) -> bool {
        self.received.is_empty()
    }
}

async fn take(
    State((sender, answers)): State<(mpsc::UnboundedSender<Received>, Answers)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    drop(sender.send(Received { headers, body }));
    let answer = answers.lock().expect("not poisoned").pop_front();
    let Some((status, headers)) = answer else { return StatusCode::OK.into_response() };
    let mut response = status.into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().expect("a header value"));
    }
    response
}
