//! Calls about all merchants, over all members.

use base::{Timestamp, postgres::Database};
use futures::future::try_join_all;
use store::outbox::OutboxMessage;
use tokio::sync::watch;

use super::Router;
use crate::{database::OrderDatabase, fault::Result, timestamps::Moment};

impl Router {
    /// Asks the primaries of all members at once.
    pub(crate) async fn pages<T, F>(&self, ask: impl Fn(Database) -> F) -> Result<Vec<T>>
    where
        F: Future<Output = Result<T>>,
    {
        try_join_all(self.members.iter().map(|member| ask(member.primary.reads().clone()))).await
    }

    /// Deletes up to `limit` rows of before `at`, over one member after the other, by a statement with the arguments
    /// `at` and `limit`. An error counts if nothing was deleted.
    pub(crate) async fn in_turn(&self, delete: &'static str, at: Timestamp, limit: u32) -> Result<u64> {
        let (mut deleted, mut failed) = (0, None);
        for member in &self.members {
            let left = limit.saturating_sub(u32::try_from(deleted).unwrap_or(u32::MAX));
            let query = sqlx::query(delete).bind(Moment(at)).bind(i64::from(left));
            match member.primary.run(query).await {
                Ok(rows) => deleted += rows,
                Err(fault) => failed = Some(fault),
            }
        }
        match failed {
            Some(fault) if deleted == 0 => Err(fault),
            _ => Ok(deleted),
        }
    }

    /// Claims up to `limit` messages, over the members in rotation.
    pub(crate) async fn claim<F>(
        &self,
        limit: u32,
        claim: impl Fn(OrderDatabase, u32) -> F,
    ) -> Result<Vec<OutboxMessage>>
    where
        F: Future<Output = Result<Vec<OutboxMessage>>>,
    {
        match &self.locations {
            None => claim(self.first().clone(), limit).await,
            Some(_) => Box::pin(self.claims.claim(&self.members, limit, claim)).await,
        }
    }

    /// Changes whenever messages may have arrived on any member.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        // One signal for all, but a member listens only once it is subscribed to.
        for member in &self.members[1..] {
            drop(member.primary.arrivals());
        }
        self.first().arrivals()
    }
}
