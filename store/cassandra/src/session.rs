//! Execution of statements: a conditional one is sent once, an idempotent one until it is answered.
//!
//! Guarantees: a conditional update whose response is missing is never sent again before a SERIAL read. That read
//! completes or discards the round in question, so its result is final.

use std::{cell::Cell, future::Future, time::Duration};

use base::{Ambient, ErrorClass};
use futures::future::BoxFuture;
use scylla::{
    client::session::Session,
    errors::ExecutionError,
    response::query_result::{QueryResult, QueryRowsResult},
    serialize::row::SerializeRow,
    statement::prepared::PreparedStatement,
    value::Row,
};
use store::domain::PaymentId;
use tokio::sync::{Mutex, MutexGuard};

use super::{
    fault::{Failure, Result, classify},
    statements::Statements,
};

/// Number of locks for payments; two payments that share one delay each other by some milliseconds.
const TURNS: u128 = 1024;
/// First and longest backoff between attempts; the actual one is jittered between zero and this.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_millis(320);

tokio::task_local! {
    /// The error of the call's last unanswered request, for the error text when the call times out.
    static LAST_SEEN: Cell<Option<ExecutionError>>;
}

/// A driver session with its prepared statements.
pub(super) struct PaymentSession {
    pub(super) session: Session,
    pub(super) statements: Statements,
    pub(super) ambient: Ambient,
    call_timeout: Duration,
    turns: Vec<Mutex<()>>,
}

/// The result of a conditional update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cas {
    Applied,
    Refused,
    /// No response: the update may still take effect, until a SERIAL read has been answered.
    Unknown,
}

impl PaymentSession {
    pub(super) fn new(
        session: Session,
        statements: Statements,
        ambient: Ambient,
        call_timeout: Duration,
    ) -> Self {
        let turns = (0..TURNS).map(|_| Mutex::new(())).collect();
        Self { session, statements, ambient, call_timeout, turns }
    }

    /// Bounds one call of the store. Abandoning it is safe: a repetition finds its effects.
    pub(super) async fn bounded<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.call_timeout;
        let limited = async {
            tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
                let last = LAST_SEEN
                    .with(Cell::take)
                    .map_or_else(|| "no failure".to_owned(), |error| error.to_string());
                Err(Failure::Overdue { limit, last })
            })
        };
        LAST_SEEN.scope(Cell::new(None), limited).await
    }

    /// Locks a payment within this process. Cassandra does not route the writers of a row to one replica, so they
    /// contend by timeouts; this avoids contention within a process. Correctness does not depend on it.
    pub(super) async fn lock(&self, id: PaymentId) -> MutexGuard<'_, ()> {
        let index = usize::try_from(id.0.as_u128() % TURNS).unwrap_or(0);
        self.turns[index].lock().await
    }

    /// Sends a conditional update once.
    pub(super) async fn cas(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<Cas> {
        match self.send(statement, values).await {
            Ok(result) => is_applied(&result.into_rows_result()?),
            Err(error) if classify(&error) == ErrorClass::Busy => {
                seen(error);
                Ok(Cas::Unknown)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn rows(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<QueryRowsResult> {
        Ok(self.answered(statement, values).await?.into_rows_result()?)
    }

    /// Runs an idempotent insert.
    pub(super) async fn copy(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<()> {
        self.answered(statement, values).await.map(drop)
    }

    /// Repeats an idempotent statement until it is answered. The driver itself never repeats a SERIAL read.
    async fn answered(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<QueryResult> {
        let mut tries = 0;
        loop {
            match self.send(statement, &values).await {
                Ok(result) => return Ok(result),
                Err(error) if classify(&error) == ErrorClass::Busy => seen(error),
                Err(error) => return Err(error.into()),
            }
            self.pause(&mut tries).await;
        }
    }

    /// Boxed: the driver's futures would add kilobytes to the future of each caller.
    fn send<'a>(
        &'a self,
        statement: &'a PreparedStatement,
        values: impl SerializeRow + Send + 'a,
    ) -> BoxFuture<'a, Result<QueryResult, ExecutionError>> {
        Box::pin(self.session.execute_unpaged(statement, values))
    }

    /// Backs off before the next attempt. Only [`PaymentSession::bounded`] bounds the number of attempts.
    pub(super) async fn pause(&self, tries: &mut u32) {
        let longest = PAUSE_FIRST.saturating_mul(1 << (*tries).min(5)).min(PAUSE_LONGEST);
        *tries += 1;
        tokio::time::sleep(self.ambient.jitter(longest)).await;
    }
}

fn seen(error: ExecutionError) {
    tracing::debug!(%error, "Cassandra request unanswered");
    // The local is not set outside of a call.
    let _ = LAST_SEEN.try_with(|last| last.set(Some(error)));
}

/// Cassandra returns `[applied]` alone after an update, and adds the compared columns otherwise; `ScyllaDB` always adds
/// them, and returns one row per statement of a batch. So the column is found by its name, in the first row.
pub(super) fn is_applied(rows: &QueryRowsResult) -> Result<Cas> {
    let (column, _) = rows
        .column_specs()
        .get_by_name("[applied]")
        .ok_or_else(|| Failure::Corrupt("conditional update returned no [applied]".to_owned()))?;
    let row: Row = rows
        .maybe_first_row()?
        .ok_or_else(|| Failure::Corrupt("conditional update returned no row".to_owned()))?;
    let applied = row.columns.into_iter().nth(column).flatten().and_then(|value| value.as_boolean());
    match applied {
        Some(true) => Ok(Cas::Applied),
        Some(false) => Ok(Cas::Refused),
        None => Err(Failure::Corrupt("[applied] is not a boolean".to_owned())),
    }
}
