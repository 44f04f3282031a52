//! Unit of work: one transaction, repeated when the server rolls it back in favour of another.
//!
//! Guarantees: the result of a unit is returned after its commit; a unit that fails, is abandoned or is dropped changes
//! nothing; repetitions are bounded. Behind a pooler every statement is unnamed and inside a transaction, reads
//! included, so that each transaction may run on another server connection.

use base::{
    Ambient,
    postgres::{Transaction, retry_serialization},
};
use futures::future::BoxFuture;
use sqlx::{Postgres, postgres::PgRow};

use super::{PostgresOrders, fault::PostgresFault, fence};

/// A statement with its arguments.
pub(super) type Query<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;

/// Broken connections replaced at most before the server is reported as unavailable.
const BROKEN_MAX: u32 = 3;

/// A transaction in progress.
pub(super) struct Unit {
    transaction: Transaction,
    pub(super) ambient: Ambient,
    persistent: bool,
    abandoned: bool,
}

impl Unit {
    /// All rows of a query.
    pub(super) async fn rows(&mut self, query: Query<'_>) -> Result<Vec<PgRow>, PostgresFault> {
        Ok(query.persistent(self.persistent).fetch_all(&mut *self.transaction).await?)
    }

    /// The first row of a query.
    pub(super) async fn row(&mut self, query: Query<'_>) -> Result<Option<PgRow>, PostgresFault> {
        Ok(query.persistent(self.persistent).fetch_optional(&mut *self.transaction).await?)
    }

    /// Runs a statement; returns the number of rows changed.
    pub(super) async fn run(&mut self, query: Query<'_>) -> Result<u64, PostgresFault> {
        Ok(query.persistent(self.persistent).execute(&mut *self.transaction).await?.rows_affected())
    }

    /// Makes the unit roll back at its end; its result is returned all the same.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
    }

    async fn end(self) -> Result<(), PostgresFault> {
        if self.abandoned {
            self.transaction.rollback().await?;
        } else {
            self.transaction.commit().await?;
        }
        Ok(())
    }
}

impl PostgresOrders {
    /// Runs `work` over `facts` in a transaction.
    pub(super) async fn write<A: Sync, T: Send>(
        &self,
        facts: A,
        work: for<'c> fn(&'c mut Unit, &'c A) -> BoxFuture<'c, Result<T, PostgresFault>>,
    ) -> Result<T, PostgresFault> {
        retry_serialization(&self.ambient, || self.attempt(&facts, work)).await
    }

    async fn attempt<A: Sync, T: Send>(
        &self,
        facts: &A,
        work: for<'c> fn(&'c mut Unit, &'c A) -> BoxFuture<'c, Result<T, PostgresFault>>,
    ) -> Result<T, PostgresFault> {
        let mut unit = self.begin().await?;
        let answer = work(&mut unit, facts).await?;
        unit.end().await?;
        Ok(answer)
    }

    /// All rows of a read; the statement sees one snapshot.
    pub(super) async fn rows(&self, query: Query<'_>) -> Result<Vec<PgRow>, PostgresFault> {
        Ok(self.database.rows(query).await?)
    }

    /// The first row of a read.
    pub(super) async fn row(&self, query: Query<'_>) -> Result<Option<PgRow>, PostgresFault> {
        Ok(self.database.row(query).await?)
    }

    /// Runs one statement, which is a transaction by itself; returns the number of rows changed.
    pub(super) async fn run(&self, query: Query<'_>) -> Result<u64, PostgresFault> {
        if self.fenced.is_some() {
            let mut unit = self.begin().await?;
            let changed = unit.run(query).await?;
            unit.end().await?;
            return Ok(changed);
        }
        Ok(self.database.run(query).await?)
    }

    /// Begins a transaction, and passes the fence where there is one. A pooled connection that turns out to be broken
    /// is replaced, as no statement has been sent on it yet.
    async fn begin(&self) -> Result<Unit, PostgresFault> {
        let mut broken = 0;
        let transaction = loop {
            match self.database.begin().await.map_err(PostgresFault::from) {
                Err(fault) if fault.is_broken_line() && broken < BROKEN_MAX => broken += 1,
                answer => break answer?,
            }
        };
        let (ambient, persistent) = (self.ambient.clone(), self.database.names_statements());
        let mut unit = Unit { transaction, ambient, persistent, abandoned: false };
        if let Some(merchant) = self.fenced {
            fence::pass(&mut unit, merchant).await?;
        }
        Ok(unit)
    }
}
