//! The lazily connected session: payments in a Cassandra that may not be up yet.
//!
//! Guarantees: a process starts without its nodes. Until a connection is made, calls fail with a retryable error that
//! names the cause; connecting is retried with growing, jittered pauses. Only errors that waiting cannot resolve (a
//! rejected login, an unknown datacenter, a schema that was never created) fail at once.

use std::{sync::Arc, time::Duration};

use base::Ambient;
use store::error::StoreError;
use tokio::sync::watch;

use super::{CassandraConfig, connect, fault::STORE, open::open, session::PaymentSession};

/// Longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest first pause.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// A session that connects when the nodes are reachable. Clones share it.
#[derive(Clone)]
pub(super) struct LazySession(watch::Receiver<LazyState>);

enum LazyState {
    Connected(Arc<PaymentSession>),
    /// The error of the last attempt to connect.
    Waiting(String),
}

/// The error of a call before the connection is made.
#[derive(Debug, thiserror::Error)]
#[error("not connected to Cassandra yet: {0}")]
struct NotYet(String);

impl LazySession {
    pub(super) fn connected(session: PaymentSession) -> Self {
        Self(watch::Sender::new(LazyState::Connected(Arc::new(session))).subscribe())
    }

    /// Connects, or keeps trying in the background after a retryable error.
    pub(super) async fn connect(config: CassandraConfig, ambient: Ambient) -> connect::Result<Self> {
        match open(&config, ambient.clone()).await {
            Ok(session) => Ok(Self::connected(session)),
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "Cassandra unreachable at start");
                let state = watch::Sender::new(LazyState::Waiting(error.to_string()));
                let session = Self(state.subscribe());
                tokio::spawn(keep_trying(config, ambient, state));
                Ok(session)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn get(&self) -> Result<Arc<PaymentSession>, StoreError> {
        match &*self.0.borrow() {
            LazyState::Connected(session) => Ok(Arc::clone(session)),
            LazyState::Waiting(why) => {
                let source = Box::new(NotYet(why.clone()));
                Err(StoreError::Unavailable { store: STORE, source })
            }
        }
    }
}

/// Tries until connected, or until the store is dropped.
async fn keep_trying(config: CassandraConfig, ambient: Ambient, state: watch::Sender<LazyState>) {
    let mut pause = PAUSE_FIRST;
    while !state.is_closed() {
        tokio::time::sleep(ambient.jitter(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
        match open(&config, ambient.clone()).await {
            Ok(session) => {
                tracing::info!("connected to Cassandra");
                state.send_replace(LazyState::Connected(Arc::new(session)));
                return;
            }
            Err(error) => {
                state.send_replace(LazyState::Waiting(error.to_string()));
            }
        }
    }
}
