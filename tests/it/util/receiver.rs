//! Webhook receiver of a merchant: accepts webhooks over real HTTP and stores them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use tokio::sync::Notify;

/// A running listener; ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    taken: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    arrived: Arc<Notify>,
    dead: Arc<AtomicBool>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let receiver = Self { url, taken: Arc::default(), arrived: Arc::default(), dead: Arc::default() };
        let app = Router::new().route("/hook", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    /// Answers every webhook with 500 from now on, or accepts webhooks again.
    pub(crate) fn set_dead(&self, dead: bool) {
        self.dead.store(dead, Ordering::SeqCst);
    }

    /// All webhooks accepted so far.
    pub(crate) fn taken(&self) -> Vec<(HeaderMap, Bytes)> {
        self.taken.lock().expect("not poisoned").clone()
    }

    /// Waits until the accepted webhooks satisfy `enough`.
    pub(crate) async fn until(
        &self,
        enough: impl Fn(&[(HeaderMap, Bytes)]) -> bool,
    ) -> Vec<(HeaderMap, Bytes)> {
        assert!(self.within(super::PATIENCE, enough).await, "webhooks arrive in time");
        self.taken()
    }

    /// The same with a time limit; false when it passes.
    pub(crate) async fn within(
        &self,
        limit: Duration,
        enough: impl Fn(&[(HeaderMap, Bytes)]) -> bool,
    ) -> bool {
        let wait = async {
            loop {
                // Created before the check, so that an arrival in between is not missed.
                let arrival = self.arrived.notified();
                if enough(&self.taken.lock().expect("not poisoned")) {
                    return;
                }
                arrival.await;
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if receiver.dead.load(Ordering::SeqCst) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    receiver.taken.lock().expect("not poisoned").push((headers, body));
    receiver.arrived.notify_waiters();
    StatusCode::NO_CONTENT
}
