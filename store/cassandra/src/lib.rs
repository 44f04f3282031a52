#![doc = include_str!("../README.md")]
#![expect(missing_docs, reason = "a line that repeats a name tells nothing")]

mod attempts;
mod config;
mod connect;
mod fault;
mod lazy;
mod lookups;
mod open;
mod refunds;
mod rows;
mod schema;
mod session;
mod statements;
#[cfg(feature = "testing")]
#[doc(hidden)]
#[expect(clippy::expect_used, reason = "a test's code, shared by crates")]
pub mod testing;
mod tls;

use async_trait::async_trait;
use base::{Ambient, Timestamp};
use futures::future::{BoxFuture, try_join_all};
use store::{
    domain::{Decision, MerchantId, Payment, PaymentAttempt, PaymentId, RefundId, RefundState},
    error::Result,
    payments::{Begun, ChargeRecorded, Decided, NewPayment, PaymentEntry, PaymentStore, RefundBegun},
};

use self::lazy::LazySession;
pub use self::{
    config::{CassandraConfig, CassandraConfigError, CassandraLogin, CassandraTls, ListingReads, MoneyScope},
    connect::CassandraConnectError,
};

/// Payments read concurrently for one call: each is a partition of its own.
const READ_AT_ONCE: usize = 8;

/// Payments in Cassandra. Clones share the connections.
#[derive(Clone)]
pub struct CassandraPayments {
    session: LazySession,
}

impl CassandraPayments {
    /// Connects to a migrated keyspace. Fails at once, with a retryable error, when no node answers; if all nodes are
    /// lost later, the calls fail.
    // Boxed, as what follows: the driver's code is compiled here, and not again in each crate that awaits it.
    pub fn connect(config: &CassandraConfig, ambient: Ambient) -> BoxFuture<'_, connect::Result<Self>> {
        Box::pin(async { Ok(Self { session: LazySession::connected(open::open(config, ambient).await?) }) })
    }

    /// Connects, or keeps trying in the background where waiting may help; see `lazy`.
    pub fn connect_lazily(
        config: CassandraConfig,
        ambient: Ambient,
    ) -> BoxFuture<'static, connect::Result<Self>> {
        Box::pin(async { Ok(Self { session: LazySession::connect(config, ambient).await? }) })
    }

    /// Creates the keyspace if it is missing and applies the missing migrations; returns their names. Safe to run from
    /// several processes at once: one migrates, the others wait for it and find nothing to do.
    pub fn migrate<'a>(
        config: &'a CassandraConfig,
        ambient: &'a Ambient,
    ) -> BoxFuture<'a, connect::Result<Vec<&'static str>>> {
        Box::pin(async {
            let session = connect::session(config).await?;
            schema::migrate(&session, config, ambient).await
        })
    }
}

#[async_trait]
impl PaymentStore for CassandraPayments {
    async fn open_payment(&self, payment: NewPayment) -> Result<Payment> {
        let session = self.session.get()?;
        Ok(session.bounded(session.open(payment)).await?)
    }

    async fn begin_attempt(&self, id: PaymentId, worker: &str, at: Timestamp) -> Result<Begun> {
        let session = self.session.get()?;
        Ok(session.bounded(session.begin_attempt(id, worker, at)).await?)
    }

    async fn annotate_attempt(&self, id: PaymentId, epoch: u64, note: &str, at: Timestamp) -> Result<()> {
        let session = self.session.get()?;
        Ok(session.bounded(session.note_attempt(id, epoch, note, at)).await?)
    }

    async fn record_charge(
        &self,
        id: PaymentId,
        epoch: u64,
        reference: &str,
        at: Timestamp,
    ) -> Result<ChargeRecorded> {
        let session = self.session.get()?;
        Ok(session.bounded(session.record_charge(id, epoch, reference, at)).await?)
    }

    async fn record_decision(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: Decision,
        at: Timestamp,
    ) -> Result<Decided> {
        let session = self.session.get()?;
        Ok(session.bounded(session.decide(id, epoch, decision, at)).await?)
    }

    async fn payment(&self, id: PaymentId) -> Result<Option<Payment>> {
        let session = self.session.get()?;
        Ok(session.bounded(session.read_serial(id)).await?.map(|stored| stored.payment))
    }

    async fn payments(&self, ids: &[PaymentId]) -> Result<Vec<Payment>> {
        read_each(ids, |id| self.payment(id)).await
    }

    async fn committed_payment(&self, id: PaymentId) -> Result<Option<Payment>> {
        let session = self.session.get()?;
        Ok(session.bounded(session.read_quorum(id)).await?.map(|stored| stored.payment))
    }

    async fn committed_payments(&self, ids: &[PaymentId]) -> Result<Vec<Payment>> {
        read_each(ids, |id| self.committed_payment(id)).await
    }

    async fn attempts(&self, id: PaymentId) -> Result<Vec<PaymentAttempt>> {
        let session = self.session.get()?;
        let stored = session.bounded(session.read_quorum(id)).await?;
        Ok(stored.map(|stored| stored.attempts).unwrap_or_default())
    }

    async fn by_provider_reference(&self, provider: &str, reference: &str) -> Result<Option<PaymentId>> {
        let session = self.session.get()?;
        Ok(session.bounded(session.of_reference(provider, reference)).await?)
    }

    async fn list_by_day(
        &self,
        merchant: MerchantId,
        day: Timestamp,
        after: Option<PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentEntry>> {
        let session = self.session.get()?;
        Ok(session.bounded(session.of_day(merchant, day, after, limit)).await?)
    }

    async fn scan(&self, after: Option<PaymentId>, limit: u32) -> Result<Vec<PaymentEntry>> {
        let session = self.session.get()?;
        Ok(session.bounded(session.all(after, limit)).await?)
    }

    async fn begin_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        amount_minor: i64,
        at: Timestamp,
    ) -> Result<RefundBegun> {
        let session = self.session.get()?;
        Ok(session.bounded(session.begin_refund(id, refund, amount_minor, at)).await?)
    }

    async fn end_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        done: bool,
        provider_reference: &str,
        at: Timestamp,
    ) -> Result<Option<RefundState>> {
        let session = self.session.get()?;
        Ok(session.bounded(session.end_refund(id, refund, done, provider_reference, at)).await?)
    }

    /// Checks that a majority of one row's replicas answers.
    async fn ping(&self) -> Result<()> {
        let session = self.session.get()?;
        session.bounded(session.rows(&session.statements.ping, ())).await?;
        Ok(())
    }
}

async fn read_each<F: Future<Output = Result<Option<Payment>>>>(
    ids: &[PaymentId],
    read: impl Fn(PaymentId) -> F,
) -> Result<Vec<Payment>> {
    let mut found = Vec::new();
    for ids in ids.chunks(READ_AT_ONCE) {
        found.extend(try_join_all(ids.iter().map(|id| read(*id))).await?.into_iter().flatten());
    }
    Ok(found)
}
