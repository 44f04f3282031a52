//! [`PaymentStore`] in a SQLite file.
//!
//! Guarantees: rows are only ever inserted (triggers reject updates and deletions). Each condition is part of the
//! inserting statement and reads one payment only, so it can be expressed as a Cassandra lightweight transaction. The
//! reason for a rejected insert is read afterwards, in the same transaction, by [`rows`].

mod rows;
mod writes;

use std::path::Path;

use async_trait::async_trait;
use base::{
    Ambient, Timestamp,
    sqlite::{Database, OpenError, SqliteError},
};
use futures::future::BoxFuture;
use sqlx::{SqliteConnection, migrate::Migrator};
use store::{
    domain::{Decision, MerchantId, Payment, PaymentAttempt, PaymentId, RefundId, RefundState},
    error::StoreError,
    payments::{Begun, Decided, NewPayment, PaymentEntry, PaymentStore, RefundBegun},
};

/// Readers beside the writer; more than the cores of a machine that runs the embedded mode give no gain.
const READERS_MAX: u32 = 4;
/// The name of the store in errors.
const STORE: &str = "payment";

/// Payments in a SQLite file. Clones share it.
#[derive(Clone)]
pub struct SqlitePayments {
    database: Database,
}

impl SqlitePayments {
    /// Opens (or creates) the file and brings its schema up to date.
    ///
    /// `_ambient` is unused, as every method takes its time and ids; the parameter keeps `open` the same for all
    /// stores.
    pub async fn open(path: &Path, _ambient: Ambient) -> Result<Self, OpenError> {
        Ok(Self { database: Database::open(path, &migrations(), READERS_MAX).await? })
    }

    /// Closes the readers; the writer stops once every clone is gone.
    pub async fn close(&self) {
        self.database.close().await;
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, SqliteError>> + Send + 'static,
    {
        self.database.write(work).await.map_err(failed)
    }
}

#[async_trait]
impl PaymentStore for SqlitePayments {
    async fn open_payment(&self, payment: NewPayment) -> Result<Payment, StoreError> {
        self.write(move |c| Box::pin(writes::open(c, payment))).await
    }

    async fn begin_attempt(&self, id: PaymentId, worker: &str, at: Timestamp) -> Result<Begun, StoreError> {
        let worker = worker.to_owned();
        self.write(move |c| Box::pin(writes::begin_attempt(c, id, worker, at))).await
    }

    async fn annotate_attempt(
        &self,
        id: PaymentId,
        epoch: u64,
        note: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let note = note.to_owned();
        self.write(move |c| Box::pin(writes::note_attempt(c, id, epoch, note, at))).await
    }

    async fn record_decision(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: Decision,
        at: Timestamp,
    ) -> Result<Decided, StoreError> {
        self.write(move |c| Box::pin(writes::decide(c, id, epoch, decision, at))).await
    }

    async fn payment(&self, id: PaymentId) -> Result<Option<Payment>, StoreError> {
        // Two statements in one snapshot: a refund must not appear beside a decision read before it.
        let mut snapshot = self.database.readers().begin().await.map_err(failed)?;
        rows::payment(&mut snapshot, id).await.map_err(failed)
    }

    async fn attempts(&self, id: PaymentId) -> Result<Vec<PaymentAttempt>, StoreError> {
        rows::attempts(self.database.readers(), id).await.map_err(failed)
    }

    async fn by_provider_reference(
        &self,
        provider: &str,
        reference: &str,
    ) -> Result<Option<PaymentId>, StoreError> {
        rows::by_provider_reference(self.database.readers(), provider, reference).await.map_err(failed)
    }

    async fn list_by_day(
        &self,
        merchant: MerchantId,
        day: Timestamp,
        after: Option<PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentEntry>, StoreError> {
        rows::of_day(self.database.readers(), merchant, day, after, limit).await.map_err(failed)
    }

    async fn scan(&self, after: Option<PaymentId>, limit: u32) -> Result<Vec<PaymentEntry>, StoreError> {
        rows::all(self.database.readers(), after, limit).await.map_err(failed)
    }

    async fn begin_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        amount_minor: i64,
        at: Timestamp,
    ) -> Result<RefundBegun, StoreError> {
        self.write(move |c| Box::pin(writes::begin_refund(c, id, refund, amount_minor, at))).await
    }

    async fn end_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        done: bool,
        provider_reference: &str,
        at: Timestamp,
    ) -> Result<Option<RefundState>, StoreError> {
        let reference = provider_reference.to_owned();
        self.write(move |c| Box::pin(writes::end_refund(c, id, refund, done, reference, at))).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(self.database.readers()).await.map_err(failed)?;
        Ok(())
    }
}

fn failed(error: impl Into<SqliteError>) -> StoreError {
    let error = error.into();
    StoreError::new(error.error_class(), STORE, error)
}

fn migrations() -> Migrator {
    base::migrations!("../../migrations/sqlite/payments", ["0001_payments"])
}
