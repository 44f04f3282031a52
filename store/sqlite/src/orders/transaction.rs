//! Unit of work: the statements of one transaction, and the messages that it writes at its end.
//!
//! Guarantees: a unit that fails changes nothing; messages are written in the order in which they were added; relays
//! are notified after a commit with messages.

use base::{
    Timestamp,
    sqlite::{Query, WriteFailed},
};
use futures::future::BoxFuture;
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use store::{error::Result, rules::messages::Messages};

use super::{
    SqliteOrders,
    fault::{SqliteFault, to_json},
};

const WRITE_MESSAGES: &str = "
    INSERT INTO outbox (id, merchant_id, subject, kind, order_id, sequence, at, data, trace)
    SELECT value ->> 'id', value ->> 'merchant', value ->> 'subject', value ->> 'kind', value ->> 'order',
           value ->> 'sequence', ?2, value -> 'data', value ->> 'trace'
    FROM json_each(?1) ORDER BY key";

/// A transaction in progress.
pub(super) struct Unit<'c> {
    connection: &'c mut SqliteConnection,
    /// Written at the end of the unit.
    pub(super) messages: Messages,
}

impl Unit<'_> {
    /// Time of the change, in milliseconds since the epoch.
    pub(super) fn at_ms(&self) -> i64 {
        self.messages.at.as_millisecond()
    }

    pub(super) async fn rows(&mut self, query: Query<'_>) -> Result<Vec<SqliteRow>, SqliteFault> {
        Ok(query.fetch_all(&mut *self.connection).await?)
    }

    pub(super) async fn row(&mut self, query: Query<'_>) -> Result<Option<SqliteRow>, SqliteFault> {
        Ok(query.fetch_optional(&mut *self.connection).await?)
    }

    /// Runs a statement; returns the number of rows changed.
    pub(super) async fn run(&mut self, query: Query<'_>) -> Result<u64, SqliteFault> {
        Ok(query.execute(&mut *self.connection).await?.rows_affected())
    }

    /// Writes the messages; false when there are none.
    async fn end(mut self) -> Result<bool, SqliteFault> {
        if self.messages.rows.is_empty() {
            return Ok(false);
        }
        let query = sqlx::query(WRITE_MESSAGES).bind(to_json(&self.messages.rows)?).bind(self.at_ms());
        self.run(query).await?;
        Ok(true)
    }
}

impl SqliteOrders {
    /// Notifies relays that there are messages to claim.
    pub(super) fn notify(&self) {
        self.arrivals.send_modify(|arrivals| *arrivals = arrivals.wrapping_add(1));
    }

    /// Runs `work` as one unit, whose messages have the time `at`.
    pub(super) async fn write<T, E, F>(&self, at: Timestamp, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<WriteFailed> + From<SqliteFault> + Send + 'static,
        F: for<'u, 'c> FnOnce(&'u mut Unit<'c>) -> BoxFuture<'u, Result<T, E>> + Send + 'static,
    {
        let ambient = self.ambient.clone();
        let unit = self.database.write(move |connection| {
            Box::pin(async move {
                let mut unit = Unit { connection, messages: Messages::new(&ambient, at) };
                let answer = work(&mut unit).await?;
                Ok::<_, E>((answer, unit.end().await?))
            })
        });
        let (answer, has_messages) = unit.await?;
        if has_messages {
            self.notify();
        }
        Ok(answer)
    }

    /// Runs one statement as a unit without messages; returns the number of rows changed.
    pub(super) async fn run(&self, query: Query<'static>) -> Result<u64> {
        Ok(self.database.run(query).await.map_err(SqliteFault::from)?)
    }

    pub(super) async fn all<T>(
        &self,
        query: Query<'_>,
        read: impl Fn(&SqliteRow) -> Result<T, SqliteFault>,
    ) -> Result<Vec<T>> {
        let rows = self.database.rows(query).await.map_err(SqliteFault::from)?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    pub(super) async fn first<T>(
        &self,
        query: Query<'_>,
        read: impl Fn(&SqliteRow) -> Result<T, SqliteFault>,
    ) -> Result<Option<T>> {
        let row = self.database.row(query).await.map_err(SqliteFault::from)?;
        Ok(row.as_ref().map(read).transpose()?)
    }
}
