//! [`Outbox`] in memory: claims by relays, and the event log.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use base::{Timestamp, time::later};
use store::{
    domain::{Event, EventId, MerchantId, OrderId, Page, PageRequest},
    error::StoreError,
    outbox::{Backlog, Command, Outbox, OutboxBody, OutboxMessage, Position, SET_ASIDE, SetAside, Submitted},
    rules::messages::{COMMAND, Messages},
};
use tokio::sync::watch;

use super::{
    MemoryOrders, event_of,
    state::{OrdersState, OutboxRow},
};
use crate::{page_of, some};

const ORDER_EVENTS_MAX: usize = 1000;

#[async_trait]
impl Outbox for MemoryOrders {
    async fn submit(&self, id: EventId, command: Command, at: Timestamp) -> Result<Submitted, StoreError> {
        let ambient = self.ambient.clone();
        let submit = move |state: &mut OrdersState, _| {
            let order = command.order().and_then(|order| state.find_order(order));
            let is = |body: &OutboxBody| match body {
                OutboxBody::Event(event) => event.id == id,
                OutboxBody::Command { id: known, .. } => *known == id,
                OutboxBody::Unreadable(row) => row.id == id.to_string(),
            };
            if state.outbox.iter().any(|row| is(&row.body)) {
                return Ok(Submitted::Already);
            }
            let mut messages = Messages::new(&ambient, at);
            match (&command, order) {
                (Command::Resend { merchant, event, .. }, _) => {
                    messages.resend(id, (*merchant, *event), &command)?;
                }
                (_, Some(order)) => messages.command_as(id, &order, &command)?,
                (_, None) => return Ok(Submitted::NoSuchOrder),
            }
            state.tell(messages)?;
            Ok(Submitted::Stored)
        };
        self.held.write("submit", submit).await
    }

    async fn claim(
        &self,
        relay: &str,
        limit: u32,
        lease: Duration,
        at: Timestamp,
    ) -> Result<Vec<OutboxMessage>, StoreError> {
        let relay = relay.to_owned();
        let (until, is_later) = (later(at, lease), self.is_later);
        let claim = move |state: &mut OrdersState, _| {
            let mut messages = claim(state, &relay, limit, at, until);
            for message in messages.iter_mut().filter(|message| is_later(&message.body)) {
                if let Some(row) = state.row(message.position.number) {
                    let error = Some("written by a later release".to_owned());
                    message.body = OutboxBody::Unreadable(SetAside { error, ..head(row) });
                }
            }
            Ok(messages)
        };
        self.held.write("claim", claim).await
    }

    async fn mark_sent(&self, positions: &[Position], _at: Timestamp) -> Result<(), StoreError> {
        if positions.is_empty() {
            return Ok(());
        }
        let positions = positions.to_vec();
        let mark = move |state: &mut OrdersState, _| {
            for Position { number: position, .. } in positions {
                if state.unsent.remove(&position)
                    && let Some(row) = state.row_mut(position)
                {
                    row.lease = None;
                }
            }
            // Messages that other relays skipped because this one held their subject may be claimed now.
            state.notify();
            Ok(())
        };
        self.held.write("mark_sent", mark).await
    }

    async fn set_aside(&self, positions: &[Position], until: Timestamp) -> Result<(), StoreError> {
        let positions = positions.to_vec();
        let set = move |state: &mut OrdersState, _| {
            for Position { number: position, .. } in positions {
                if state.forgets {
                    state.unsent.remove(&position);
                } else if let Some(row) = state.row_mut(position) {
                    row.lease = Some((SET_ASIDE.to_owned(), until));
                }
            }
            Ok(())
        };
        self.held.write("set_aside", set).await
    }

    async fn list_set_aside(&self, limit: u32) -> Result<Vec<SetAside>, StoreError> {
        let list = |state: &OrdersState| aside(state).take(some(limit)).map(head).collect();
        self.held.read("list_set_aside", list).await
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.held.touch(OrdersState::subscribe)
    }

    async fn backlog_up_to(&self, most: u64) -> Result<Backlog, StoreError> {
        let count = |state: &OrdersState| {
            let oldest = state.unsent.first().and_then(|position| state.row(*position));
            Backlog {
                messages: most.min(state.unsent.len() as u64),
                oldest_at: oldest.map(|row| row.at),
                set_aside: most.min(aside(state).count() as u64),
            }
        };
        self.held.read("backlog", count).await
    }

    async fn events(
        &self,
        merchant: MerchantId,
        page: PageRequest<EventId>,
    ) -> Result<Page<Event>, StoreError> {
        let list = |state: &OrdersState| {
            let of_merchant = state
                .outbox
                .iter()
                .filter(|row| row.merchant == merchant)
                .filter_map(|row| event_of(&row.body));
            let mut newest_first: Vec<_> = of_merchant.collect();
            newest_first.reverse();
            if let Some(after) = page.after {
                // After an unknown event the page is empty.
                let at = newest_first.iter().position(|event| event.id == after);
                newest_first.drain(..at.map_or(newest_first.len(), |at| at + 1));
            }
            page_of(newest_first.into_iter(), page.limit)
        };
        self.held.read("events", list).await
    }

    async fn event_by_id(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        let is = |body: &&OutboxBody| matches!(body, OutboxBody::Event(event) if event.id == id);
        let find = |state: &OrdersState| state.outbox.iter().map(|row| &row.body).find(is).and_then(event_of);
        self.held.find("event_by_id", find).await
    }

    async fn order_events(&self, order: OrderId, after: u64) -> Result<Vec<Event>, StoreError> {
        let list = |state: &OrdersState| {
            let wanted = |event: &Event| event.order == Some(order) && event.sequence > after;
            let events = state.outbox.iter().filter_map(|row| match &row.body {
                OutboxBody::Event(event) if wanted(event) => Some(event.clone()),
                _ => None,
            });
            // The outbox holds them in sequence.
            events.take(ORDER_EVENTS_MAX).collect()
        };
        self.held.read("order_events", list).await
    }
}

/// Unsent messages that are set aside.
fn aside(state: &OrdersState) -> impl Iterator<Item = &OutboxRow> {
    let unsent = state.unsent.iter().filter_map(|position| state.row(*position));
    unsent.filter(|row| row.lease.as_ref().is_some_and(|(relay, _)| relay == SET_ASIDE))
}

fn head(row: &OutboxRow) -> SetAside {
    let (id, order, kind) = match &row.body {
        OutboxBody::Unreadable(row) => return row.clone(),
        OutboxBody::Event(event) => (event.id, event.order, event.kind.as_str()),
        OutboxBody::Command { id, command, .. } => (*id, command.order(), COMMAND),
    };
    SetAside {
        id: id.to_string(),
        merchant: Some(row.merchant),
        order,
        kind: kind.to_owned(),
        at: Some(row.at),
        error: None,
    }
}

/// A subject is skipped as a whole while another relay holds a lease on any of its messages.
fn claim(
    state: &mut OrdersState,
    relay: &str,
    limit: u32,
    at: Timestamp,
    until: Timestamp,
) -> Vec<OutboxMessage> {
    let unsent: Vec<i64> = state.unsent.iter().copied().collect();
    let rows = unsent.iter().filter_map(|position| state.row(*position));
    let by_another = |lease: &(String, Timestamp)| lease.0 != relay && lease.1 > at;
    let held: BTreeSet<String> = rows
        .filter(|row| row.lease.as_ref().is_some_and(by_another))
        .map(|row| row.subject.clone())
        .collect();
    let mut taken = Vec::new();
    for position in unsent {
        if taken.len() >= some(limit) {
            break;
        }
        if let Some(row) = state.row_mut(position).filter(|row| !held.contains(&row.subject)) {
            row.lease = Some((relay.to_owned(), until));
            let (position, subject) = (Position::only(position), row.subject.clone());
            taken.push(OutboxMessage { position, subject, body: row.body.clone() });
        }
    }
    taken
}
