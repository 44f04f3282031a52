//! Runs statements: conditional ones once, harmless ones until they are answered.
//!
//! Guarantees: a conditional update whose answer is missing is never sent again before a SERIAL read. That read ends
//! the round in question, one way or the other, so what it shows is final.

use std::{cell::Cell, future::Future, time::Duration};

use base::Ambient;
use futures::future::BoxFuture;
use scylla::{
    client::session::Session,
    errors::ExecutionError,
    response::query_result::{QueryResult, QueryRowsResult},
    serialize::row::SerializeRow,
    statement::prepared::PreparedStatement,
    value::Row,
};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    fault::{Failure, Retryability, retryability},
    statements::Statements,
};
use crate::domain::PaymentId;

/// Waiting lists of payments; two payments that share one lose some milliseconds.
const TURNS: u128 = 1024;
/// First and longest pause between tries; the real one is drawn between zero and this.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_millis(320);

tokio::task_local! {
    /// Why the call's last request had no answer, for the text of the error when its time is up.
    static LAST_SEEN: Cell<Option<ExecutionError>>;
}

/// A session with its statements.
pub(super) struct PaymentSession {
    pub(super) session: Session,
    pub(super) statements: Statements,
    pub(super) ambient: Ambient,
    call_timeout: Duration,
    turns: Vec<Mutex<()>>,
}

/// What became of a conditional update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cas {
    /// The condition held.
    Applied,
    /// It did not.
    Refused,
    /// No answer: it may take effect, until a SERIAL read has been answered.
    Unknown,
}

/// Counts the tries of one call.
#[derive(Debug, Default)]
pub(super) struct Pause {
    tries: u32,
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

    /// One call of the store. Leaving it at its end is safe: whoever repeats it finds what it did.
    pub(super) async fn bounded<T>(
        &self,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
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

    /// Waits for this process's turn on a payment. Cassandra does not lead writers of a row to one replica, so they
    /// contend by timeouts; those of one process need not. Correctness does not rest on it.
    pub(super) async fn lock(&self, id: PaymentId) -> MutexGuard<'_, ()> {
        let index = usize::try_from(id.0.as_u128() % TURNS).unwrap_or(0);
        self.turns[index].lock().await
    }

    /// A conditional update, sent once.
    pub(super) async fn cas(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<Cas, Failure> {
        match self.send(statement, values).await {
            Ok(result) => is_applied(&result.into_rows_result()?),
            Err(error) if retryability(&error) == Retryability::Passing => {
                seen(error);
                Ok(Cas::Unknown)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A read of few rows.
    pub(super) async fn rows(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<QueryRowsResult, Failure> {
        Ok(self.answered(statement, values).await?.into_rows_result()?)
    }

    /// An insert that may be repeated.
    pub(super) async fn copy(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<(), Failure> {
        self.answered(statement, values).await.map(drop)
    }

    /// Repeats an idempotent statement until it is answered. The driver itself never repeats a SERIAL read.
    async fn answered(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow + Send + Sync,
    ) -> Result<QueryResult, Failure> {
        let mut pause = Pause::default();
        loop {
            match self.send(statement, &values).await {
                Ok(result) => return Ok(result),
                Err(error) if retryability(&error) == Retryability::Passing => seen(error),
                Err(error) => return Err(error.into()),
            }
            self.pause(&mut pause).await;
        }
    }

    /// Boxed, as the driver's futures take kilobytes of each caller's.
    fn send<'a>(
        &'a self,
        statement: &'a PreparedStatement,
        values: impl SerializeRow + Send + 'a,
    ) -> BoxFuture<'a, Result<QueryResult, ExecutionError>> {
        Box::pin(self.session.execute_unpaged(statement, values))
    }

    /// Lets a rival finish. Bounded by [`Ring::bounded`], whatever the number of tries.
    pub(super) async fn pause(&self, pause: &mut Pause) {
        let longest = PAUSE_FIRST.saturating_mul(1 << pause.tries.min(5)).min(PAUSE_LONGEST);
        pause.tries += 1;
        tokio::time::sleep(self.ambient.jitter(longest)).await;
    }
}

fn seen(error: ExecutionError) {
    tracing::debug!(%error, "a request has no answer");
    // Outside of a call there is nobody to tell.
    let _ = LAST_SEEN.try_with(|last| last.set(Some(error)));
}

/// Cassandra answers `[applied]` alone when it was, and adds the compared columns when not; `ScyllaDB` always adds
/// them, and for a batch a row a statement. So the column is found by its name, in the first row.
pub(super) fn is_applied(rows: &QueryRowsResult) -> Result<Cas, Failure> {
    let (column, _) = rows
        .column_specs()
        .get_by_name("[applied]")
        .ok_or_else(|| Failure::Corrupt("a conditional update was answered without [applied]".to_owned()))?;
    let row: Row = rows
        .maybe_first_row()
        .map_err(|error| Failure::Corrupt(error.to_string()))?
        .ok_or_else(|| Failure::Corrupt("a conditional update was answered without a row".to_owned()))?;
    let applied = row.columns.into_iter().nth(column).flatten().and_then(|value| value.as_boolean());
    match applied {
        Some(true) => Ok(Cas::Applied),
        Some(false) => Ok(Cas::Refused),
        None => Err(Failure::Corrupt("[applied] is no boolean".to_owned())),
    }
}
