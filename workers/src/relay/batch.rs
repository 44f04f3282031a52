//! The messages of one round on their way to the engine.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use store::{
    OrderStore, StoreError,
    domain::{EndpointId, EventKind, MerchantId},
    outbox::{OutboxBody, OutboxMessage, Position},
};

/// The claimed messages on their way.
#[derive(Default)]
pub(super) struct Batch<'a> {
    /// Messages to be marked sent.
    pub(super) good: Vec<&'a OutboxMessage>,
    pub(super) aside: Aside<'a>,
    pub(super) subscribers: Subscribers,
    /// Jobs confirmed.
    pub(super) jobs: usize,
}

/// Messages of a batch to set aside.
#[derive(Default)]
pub(super) struct Aside<'a> {
    pub(super) positions: Vec<Position>,
    /// Their subjects, whose later messages wait.
    pub(super) subjects: HashSet<&'a str>,
    /// The first of them and its error.
    pub(super) first_error: Option<String>,
}

impl<'a> Aside<'a> {
    pub(super) fn add(&mut self, message: &'a OutboxMessage, error: &str) {
        self.positions.push(message.position);
        self.subjects.insert(&message.subject);
        self.first_error.get_or_insert_with(|| format!("subject {}: {error}", message.subject));
    }
}

/// Subscribed endpoints, looked up once per batch: the thousands of events of a batch have few merchants.
#[derive(Default)]
pub(super) struct Subscribers(HashMap<(MerchantId, EventKind), Vec<EndpointId>>);

impl Subscribers {
    pub(super) async fn of(
        &mut self,
        store: &dyn OrderStore,
        body: &OutboxBody,
    ) -> Result<&[EndpointId], StoreError> {
        let OutboxBody::Event(event) = body else { return Ok(&[]) };
        let key = (event.merchant, event.kind);
        Ok(match self.0.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(store.subscribers(event.merchant, event.kind).await?),
        })
    }
}
