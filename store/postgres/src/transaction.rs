//! Unit of work: the statements of one transaction, and the messages that it writes at its end.
//!
//! Guarantees: a unit that fails, is abandoned or is dropped changes nothing. Behind a pooler every statement is
//! unnamed. [`super::database`] begins, ends and repeats units.

use base::{
    Ambient, Timestamp,
    postgres::{Query, Transaction},
};
use sqlx::postgres::PgRow;
use store::rules::messages::Messages;

use super::{fault::PostgresFault, outbox_insert};

/// A transaction in progress.
pub(super) struct Unit {
    transaction: Transaction,
    pub(super) ambient: Ambient,
    persistent: bool,
    abandoned: bool,
    wakes_relays: bool,
    messages: Option<Messages>,
}

impl Unit {
    pub(super) fn new(transaction: Transaction, ambient: Ambient, persistent: bool) -> Self {
        Self { transaction, ambient, persistent, abandoned: false, wakes_relays: false, messages: None }
    }

    pub(super) async fn rows(&mut self, query: Query<'_>) -> Result<Vec<PgRow>, PostgresFault> {
        Ok(query.persistent(self.persistent).fetch_all(&mut *self.transaction).await?)
    }

    pub(super) async fn row(&mut self, query: Query<'_>) -> Result<Option<PgRow>, PostgresFault> {
        Ok(query.persistent(self.persistent).fetch_optional(&mut *self.transaction).await?)
    }

    /// Runs a statement; returns the number of rows changed.
    pub(super) async fn run(&mut self, query: Query<'_>) -> Result<u64, PostgresFault> {
        Ok(query.persistent(self.persistent).execute(&mut *self.transaction).await?.rows_affected())
    }

    /// The messages that the unit writes at its end, all of the time `at`.
    pub(super) fn messages(&mut self, at: Timestamp) -> &mut Messages {
        self.messages.get_or_insert_with(|| Messages::new(&self.ambient, at))
    }

    /// Makes the unit roll back at its end; its result is returned all the same.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Notifies relays after the commit: they have messages to claim.
    pub(super) fn wake_relays(&mut self) {
        self.wakes_relays = true;
    }

    /// Writes the messages and commits, or rolls back an abandoned unit; true when relays are to be notified.
    pub(super) async fn end(mut self) -> Result<bool, PostgresFault> {
        if self.abandoned {
            self.transaction.rollback().await?;
            return Ok(false);
        }
        if let Some(messages) = self.messages.take() {
            self.run(outbox_insert::bind(sqlx::query(outbox_insert::WRITE), &messages)?).await?;
            self.wake_relays();
        }
        self.transaction.commit().await?;
        Ok(self.wakes_relays)
    }
}
