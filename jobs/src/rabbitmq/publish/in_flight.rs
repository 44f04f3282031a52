//! Unconfirmed messages of a connection, and the answers to their confirms.
//!
//! # Returned messages
//! An unroutable message is returned, then confirmed like any other. The broker sends the return first, but one confirm
//! may cover many messages, and the client library completes these in no order and attaches the oldest return to the
//! one that comes next. So a confirm tells that some message was returned, not which one. Two properties of the library
//! are relied upon: a confirm without a return is completed when no return is left, so that the return of its own
//! message, if any, came with a confirm completed before; and once all messages of a channel are confirmed, no return
//! is left.
//!
//! Hence confirms are handled in rounds: all that are complete, until none is. If no return came with a round, its
//! messages are in their queues. Otherwise nothing more is sent until all messages in flight are confirmed; then each
//! is answered by its own id. That takes about one round trip, and happens only while a queue is missing.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lapin::{Channel, Confirmation, options::BasicPublishOptions, types::ShortString};

use super::batch::{Batch, Failure, PublishTrouble, Ticket};
use crate::{
    error::describe,
    rabbitmq::wire::fault::{NOT_FOUND, classify, code},
};

/// Most unconfirmed messages, over all callers.
const WINDOW: usize = 512;

/// A message whose confirm is complete.
pub(super) struct Confirmed {
    number: u64,
    by_exchange: bool,
    outcome: lapin::Result<Confirmation>,
}

#[derive(Default)]
pub(super) struct InFlight {
    next_number: u64,
    sent: HashMap<u64, Ticket>,
    confirms: FuturesUnordered<BoxFuture<'static, Confirmed>>,
    /// Ids of returned messages. While there are any, confirmed messages are held and none is sent.
    returned: HashSet<Option<ShortString>>,
    /// Confirmed messages without an answer yet, with whether the queue accepted them.
    held: Vec<(Ticket, bool)>,
    /// Whether the channel of messages to exchanges has failed.
    exchange_failed: bool,
}

impl InFlight {
    pub(super) fn is_empty(&self) -> bool {
        self.confirms.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.returned.is_empty() && self.confirms.len() < WINDOW
    }

    /// Adds a message. It is sent when it is first polled, so messages are sent in the order in which they are added.
    pub(super) fn push(&mut self, channel: Channel, ticket: Ticket) {
        let number = self.next_number;
        self.next_number += 1;
        let (batch, index) = (ticket.batch.clone(), ticket.index);
        let by_exchange = ticket.message().is_by_exchange();
        self.confirms.push(Box::pin(async move {
            let outcome = publish(&channel, &batch, index).await;
            Confirmed { number, by_exchange, outcome }
        }));
        self.sent.insert(number, ticket);
    }

    /// The next confirm; `None` when nothing is in flight.
    pub(super) async fn next(&mut self) -> Option<Confirmed> {
        self.confirms.next().await
    }

    /// Whether the channel of messages to exchanges has failed since the last call.
    pub(super) fn exchange_failed(&mut self) -> bool {
        std::mem::take(&mut self.exchange_failed)
    }

    /// Handles all confirms that are complete, `first` included.
    pub(super) fn take_round(&mut self, first: Confirmed) -> Result<(), PublishTrouble> {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        self.confirmed(first)?;
        loop {
            match self.confirms.poll_next_unpin(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(confirmed)) => self.confirmed(confirmed)?,
                // The set may pause before it has polled all that are ready; then it wakes its caller.
                Poll::Pending if woken.0.swap(false, Ordering::SeqCst) => {}
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if self.exchange_failed && !self.returned.is_empty() {
            // Its returns are lost with it: which of its messages came back is unknown.
            self.held.retain(|(ticket, _)| !ticket.message().is_by_exchange());
        }
        if self.returned.is_empty() || self.confirms.is_empty() {
            self.answer_held();
        }
        Ok(())
    }

    /// Notes one confirm. An error of a message is one of its channel; returned when it ends the whole connection.
    fn confirmed(&mut self, confirmed: Confirmed) -> Result<(), PublishTrouble> {
        let Confirmed { number, by_exchange, outcome } = confirmed;
        // Without a ticket, the caller has been told already that the broker is blocked.
        let ticket = self.sent.remove(&number);
        let (acked, back) = match outcome {
            Err(error) => {
                let trouble = PublishTrouble { class: classify(&error), detail: describe(&error) };
                let replaceable = by_exchange && trouble.class.is_transient();
                self.exchange_failed |= replaceable;
                if let Some(ticket) = ticket {
                    ticket.settle(Err(match code(&error) {
                        Some(NOT_FOUND) => Failure::NoExchange,
                        _ => Failure::Unknown(trouble.clone()),
                    }));
                }
                return if replaceable { Ok(()) } else { Err(trouble) };
            }
            Ok(Confirmation::Ack(back)) => (true, back),
            Ok(Confirmation::Nack(back)) => (false, back),
            Ok(Confirmation::NotRequested) => {
                return Err(PublishTrouble::unavailable("the channel is not in confirm mode"));
            }
        };
        if let Some(back) = back {
            self.returned.insert(back.delivery.properties.message_id().clone());
        }
        self.held.extend(ticket.map(|ticket| (ticket, acked)));
        Ok(())
    }

    /// Answers the held messages, each by its own id.
    fn answer_held(&mut self) {
        for (ticket, acked) in self.held.drain(..) {
            let came_back = self.returned.contains(ticket.message().raw.properties.message_id());
            ticket.settle(match (came_back, acked) {
                (true, _) => Err(Failure::Missing),
                (false, true) => Ok(()),
                (false, false) => Err(Failure::Rejected),
            });
        }
        self.returned.clear();
    }

    /// All messages without an answer.
    pub(super) fn take_tickets(&mut self) -> impl Iterator<Item = Ticket> {
        let held = self.held.drain(..).map(|(ticket, _)| ticket);
        held.chain(self.sent.drain().map(|(_, ticket)| ticket))
    }
}

/// Whether a poll asked to be repeated.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn publish(channel: &Channel, batch: &Batch, index: usize) -> lapin::Result<Confirmation> {
    let message = &batch.messages[index];
    let confirm = channel.basic_publish(
        message.exchange.as_str().into(),
        message.routing_key.as_str().into(),
        BasicPublishOptions { mandatory: message.is_mandatory(), ..BasicPublishOptions::default() },
        &message.raw.body,
        message.raw.properties.clone(),
    );
    confirm.await?.await
}
