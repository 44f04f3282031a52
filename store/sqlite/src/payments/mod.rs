//! [`PaymentStore`] in a SQLite file.
//!
//! Guarantees: rows are only ever inserted (triggers reject updates and deletions). Each condition is part of the
//! inserting [statement](statements) and reads one payment only, so it can be expressed as a Cassandra lightweight
//! transaction. The reason for a rejected insert is read afterwards, in the same transaction.

mod rows;
mod statements;

use std::path::Path;

use async_trait::async_trait;
use base::{
    Ambient, Timestamp,
    sqlite::{Database, OpenError, Query, SqliteError},
};
use sqlx::{migrate::Migrator, sqlite::SqliteRow};
use store::{
    domain::{Decision, MerchantId, Payment, PaymentAttempt, PaymentId, RefundId, RefundState},
    error::{Result, StoreError},
    payments::{
        Begun, ChargeRecorded, Decided, NewPayment, PaymentEntry, PaymentStore, RefundBegun, rejection,
    },
    rules::columns::Columns,
};

use self::statements::{
    ANNOTATE_ATTEMPT, ATTEMPTS, BEGIN_ATTEMPT, BEGIN_REFUND, BY_REFERENCE, DECIDE, END_REFUND, OF_DAY, OPEN,
    RECORD_CHARGE, REFUND_END, SCAN,
};
use crate::row::get;

/// Readers beside the writer; more than the cores of a machine that runs the embedded mode give no gain.
const READERS_MAX: u32 = 4;
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

    /// Runs a conditional insert. When it inserts nothing, `why` tells the reason by the stored payment.
    async fn insert<T: Send + 'static>(
        &self,
        query: Query<'static>,
        id: PaymentId,
        inserted: T,
        why: impl FnOnce(Option<Payment>) -> T + Send + 'static,
    ) -> Result<T> {
        let unit = self.database.write(move |c| {
            Box::pin(async move {
                if query.execute(&mut *c).await?.rows_affected() == 1 {
                    return Ok(inserted);
                }
                Ok::<_, SqliteError>(why(rows::payment(c, id).await?))
            })
        });
        unit.await.map_err(failed)
    }

    async fn list<T>(
        &self,
        query: Query<'_>,
        read: impl Fn(&SqliteRow) -> Result<T, SqliteError>,
    ) -> Result<Vec<T>> {
        let rows = self.database.rows(query).await.map_err(failed)?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(failed)
    }
}

#[async_trait]
impl PaymentStore for SqlitePayments {
    async fn open_payment(&self, new: NewPayment) -> Result<Payment> {
        let query = sqlx::query(OPEN)
            .bind(new.id.to_string())
            .bind(new.order.to_string())
            .bind(new.merchant.to_string())
            .bind(new.amount_minor)
            .bind(new.currency.to_string())
            .bind(new.method)
            .bind(new.provider)
            .bind(new.at.as_millisecond());
        self.database.run(query).await.map_err(failed)?;
        let missing =
            || failed(SqliteError::Corrupt(format!("{} is missing right after its insert", new.id)));
        self.payment(new.id).await?.ok_or_else(missing)
    }

    async fn begin_attempt(&self, id: PaymentId, worker: &str, at: Timestamp) -> Result<Begun> {
        let query = sqlx::query(BEGIN_ATTEMPT).bind(id.to_string()).bind(worker).bind(at.as_millisecond());
        let unit = self.database.write(move |c| {
            Box::pin(async move {
                if let Some(row) = query.fetch_optional(&mut *c).await? {
                    return Ok(Begun::Attempt { epoch: row.number("epoch")? });
                }
                rejection::not_begun(rows::payment(c, id).await?.as_ref())
                    .ok_or_else(|| SqliteError::Corrupt(format!("{id} is undecided but rejects an attempt")))
            })
        });
        unit.await.map_err(failed)
    }

    async fn annotate_attempt(&self, id: PaymentId, epoch: u64, note: &str, at: Timestamp) -> Result<()> {
        let query = sqlx::query(ANNOTATE_ATTEMPT)
            .bind(id.to_string())
            .bind(rejection::stored_epoch(epoch))
            .bind(note)
            .bind(at.as_millisecond());
        self.database.run(query).await.map_err(failed)?;
        Ok(())
    }

    async fn record_charge(
        &self,
        id: PaymentId,
        epoch: u64,
        reference: &str,
        at: Timestamp,
    ) -> Result<ChargeRecorded> {
        let query = sqlx::query(RECORD_CHARGE)
            .bind(id.to_string())
            .bind(rejection::stored_epoch(epoch))
            .bind(reference.to_owned())
            .bind(at.as_millisecond());
        let why = move |payment: Option<Payment>| rejection::charge_not_recorded(payment.as_ref(), epoch);
        let recorded =
            self.insert(query, id, Some(ChargeRecorded::Charge(reference.to_owned())), why).await?;
        let odd = || failed(SqliteError::Corrupt(format!("{id} has no charge but rejects one")));
        recorded.ok_or_else(odd)
    }

    async fn record_decision(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: Decision,
        at: Timestamp,
    ) -> Result<Decided> {
        let (reference, code) = match decision {
            Decision::Captured { provider_reference } => (Some(provider_reference), None),
            Decision::Declined { code } => (None, Some(code)),
        };
        let query = sqlx::query(DECIDE)
            .bind(id.to_string())
            .bind(rejection::stored_epoch(epoch))
            .bind(reference)
            .bind(code)
            .bind(at.as_millisecond());
        let why = |payment: Option<Payment>| rejection::not_decided(payment.as_ref());
        self.insert(query, id, Decided::Recorded, why).await
    }

    async fn payment(&self, id: PaymentId) -> Result<Option<Payment>> {
        // Two statements in one snapshot: a refund must not appear beside a decision read before it.
        let mut snapshot = self.database.readers().begin().await.map_err(failed)?;
        rows::payment(&mut snapshot, id).await.map_err(failed)
    }

    async fn payments(&self, ids: &[PaymentId]) -> Result<Vec<Payment>> {
        let mut snapshot = self.database.readers().begin().await.map_err(failed)?;
        rows::payments(&mut snapshot, ids).await.map_err(failed)
    }

    async fn attempts(&self, id: PaymentId) -> Result<Vec<PaymentAttempt>> {
        self.list(sqlx::query(ATTEMPTS).bind(id.to_string()), rows::attempt).await
    }

    async fn by_provider_reference(&self, provider: &str, reference: &str) -> Result<Option<PaymentId>> {
        let row = self.database.row(sqlx::query(BY_REFERENCE).bind(reference).bind(provider)).await;
        row.map_err(failed)?.map(|row| row.id("id", PaymentId)).transpose().map_err(failed)
    }

    async fn list_by_day(
        &self,
        merchant: MerchantId,
        day: Timestamp,
        after: Option<PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentEntry>> {
        let (from, until) = rejection::day_millis(day);
        let query = sqlx::query(OF_DAY)
            .bind(merchant.to_string())
            .bind(from)
            .bind(until)
            .bind(after.map(|id| id.to_string()))
            .bind(limit);
        self.list(query, rows::entry).await
    }

    async fn scan(&self, after: Option<PaymentId>, limit: u32) -> Result<Vec<PaymentEntry>> {
        let after = after.map_or_else(String::new, |id| id.to_string());
        self.list(sqlx::query(SCAN).bind(after).bind(limit), rows::entry).await
    }

    async fn begin_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        amount_minor: i64,
        at: Timestamp,
    ) -> Result<RefundBegun> {
        let query = sqlx::query(BEGIN_REFUND)
            .bind(id.to_string())
            .bind(refund.to_string())
            .bind(amount_minor)
            .bind(at.as_millisecond());
        let why = move |payment: Option<Payment>| {
            payment.map_or(RefundBegun::NotFound, |payment| rejection::refund_not_begun(&payment, refund))
        };
        self.insert(query, id, RefundBegun::Open, why).await
    }

    async fn end_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        done: bool,
        provider_reference: &str,
        at: Timestamp,
    ) -> Result<Option<RefundState>> {
        let query = sqlx::query(END_REFUND)
            .bind(id.to_string())
            .bind(refund.to_string())
            .bind(done)
            .bind(provider_reference)
            .bind(at.as_millisecond());
        self.database.run(query).await.map_err(failed)?;
        // The first end stands, so it can be read after the write.
        let end = sqlx::query(REFUND_END).bind(id.to_string()).bind(refund.to_string());
        let end: Vec<bool> = self.list(end, |row| get(row, "done")).await?;
        Ok(end.first().map(|done| rejection::refund_state(Some(*done))))
    }

    async fn ping(&self) -> Result<()> {
        self.database.row(sqlx::query("SELECT 1")).await.map_err(failed)?;
        Ok(())
    }
}

fn failed(error: impl Into<SqliteError>) -> StoreError {
    let error = error.into();
    StoreError::new(error.error_class(), STORE, error)
}

fn migrations() -> Migrator {
    base::migrations!("../../migrations/sqlite/payments", ["0001_payments", "0002_charges"])
}
