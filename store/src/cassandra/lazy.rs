//! The lazily connected payment store: payments in a Cassandra that may not be up yet.
//!
//! Guarantees: a process starts without its nodes. Until a connection is made, calls fail with a retryable error that
//! names the cause; connecting is retried with growing, jittered pauses. Only errors that waiting cannot resolve (a
//! rejected login, an unknown datacenter, a schema that was never created) fail at once.

use std::time::Duration;

use async_trait::async_trait;
use base::{Ambient, Timestamp};
use tokio::sync::watch;

use super::{CassandraConfig, CassandraConnectError, CassandraPayments};
use crate::{
    domain::{Decision, MerchantId, Payment, PaymentAttempt, PaymentId, RefundId, RefundState},
    error::StoreError,
    payments::{Begun, Decided, NewPayment, PaymentEntry, PaymentStore, RefundBegun},
};

/// Longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest first pause.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// A store that connects when the nodes are reachable.
pub struct LazySession(watch::Receiver<LazyState>);

enum LazyState {
    Connected(CassandraPayments),
    /// The error of the last attempt to connect.
    Waiting(String),
}

/// The error of a call before the connection is made.
#[derive(Debug, thiserror::Error)]
#[error("not connected to Cassandra yet: {0}")]
struct NotYet(String);

impl LazySession {
    /// Connects, or keeps trying in the background after a retryable error.
    pub async fn connect(config: CassandraConfig, ambient: Ambient) -> Result<Self, CassandraConnectError> {
        match CassandraPayments::connect(&config, ambient.clone()).await {
            Ok(store) => Ok(Self(watch::Sender::new(LazyState::Connected(store)).subscribe())),
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "Cassandra unreachable at start");
                let state = watch::Sender::new(LazyState::Waiting(error.to_string()));
                let store = Self(state.subscribe());
                tokio::spawn(keep_trying(config, ambient, state));
                Ok(store)
            }
            Err(error) => Err(error),
        }
    }

    fn store(&self) -> Result<CassandraPayments, StoreError> {
        match &*self.0.borrow() {
            LazyState::Connected(store) => Ok(store.clone()),
            LazyState::Waiting(why) => {
                let source = Box::new(NotYet(why.clone()));
                Err(StoreError::Unavailable { store: "payments", source })
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
        match CassandraPayments::connect(&config, ambient.clone()).await {
            Ok(store) => {
                tracing::info!("connected to Cassandra");
                state.send_replace(LazyState::Connected(store));
                return;
            }
            Err(error) => {
                state.send_replace(LazyState::Waiting(error.to_string()));
            }
        }
    }
}

#[async_trait]
impl PaymentStore for LazySession {
    async fn open_payment(&self, payment: NewPayment) -> Result<Payment, StoreError> {
        self.store()?.open_payment(payment).await
    }

    async fn begin_attempt(&self, id: PaymentId, worker: &str, at: Timestamp) -> Result<Begun, StoreError> {
        self.store()?.begin_attempt(id, worker, at).await
    }

    async fn annotate_attempt(
        &self,
        id: PaymentId,
        epoch: u64,
        note: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.store()?.annotate_attempt(id, epoch, note, at).await
    }

    async fn record_decision(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: Decision,
        at: Timestamp,
    ) -> Result<Decided, StoreError> {
        self.store()?.record_decision(id, epoch, decision, at).await
    }

    async fn payment(&self, id: PaymentId) -> Result<Option<Payment>, StoreError> {
        self.store()?.payment(id).await
    }

    async fn attempts(&self, id: PaymentId) -> Result<Vec<PaymentAttempt>, StoreError> {
        self.store()?.attempts(id).await
    }

    async fn by_provider_reference(
        &self,
        provider: &str,
        reference: &str,
    ) -> Result<Option<PaymentId>, StoreError> {
        self.store()?.by_provider_reference(provider, reference).await
    }

    async fn list_by_day(
        &self,
        merchant: MerchantId,
        day: Timestamp,
        after: Option<PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentEntry>, StoreError> {
        self.store()?.list_by_day(merchant, day, after, limit).await
    }

    async fn scan(&self, after: Option<PaymentId>, limit: u32) -> Result<Vec<PaymentEntry>, StoreError> {
        self.store()?.scan(after, limit).await
    }

    async fn begin_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        amount_minor: i64,
        at: Timestamp,
    ) -> Result<RefundBegun, StoreError> {
        self.store()?.begin_refund(id, refund, amount_minor, at).await
    }

    async fn end_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        done: bool,
        provider_reference: &str,
        at: Timestamp,
    ) -> Result<Option<RefundState>, StoreError> {
        self.store()?.end_refund(id, refund, done, provider_reference, at).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store()?.ping().await
    }
}
