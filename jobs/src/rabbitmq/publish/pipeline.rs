//! The publishing task behind [`super::publisher`]: connects, keeps the window of unconfirmed messages full,
//! reconnects.
//!
//! The broker sends a returned message before its confirm, but the client library attaches it to whichever confirm it
//! completes next, and one confirm may cover many messages. So returns are matched by message id: a return attached to
//! another message is remembered and looked up at the confirm of its own message. That confirm comes later: the library
//! empties its list of returns before it completes a confirm without one, and this task sees confirms in the order of
//! their completion, since [`FuturesUnordered`] yields in the order of waking.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use base::Ambient;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior},
};

use super::batch::{Batch, Failure, NOT_CONNECTED, PublishTrouble, PublisherState, Ticket};
use crate::{
    engine::EngineError,
    error::describe,
    job::Backoff,
    rabbitmq::wire::{
        connect::Address,
        fault::{answer, classify},
    },
};

/// Most unconfirmed messages, over all callers.
const WINDOW: usize = 512;
/// Channels that share the batches: each is a process of its own in the broker.
const CHANNELS: usize = 2;
/// Time without a confirm after which the connection is considered dead, whatever its state says.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// Interval of checking the connection's state.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// Delay before reconnecting.
const RECONNECT: Backoff =
    Backoff::FullJitter { base: Duration::from_millis(200), cap: Duration::from_secs(5) };

/// Runs until all senders of `queue` are dropped.
pub(super) async fn run(
    address: Address,
    name: String,
    ambient: Ambient,
    mut queue: mpsc::Receiver<Arc<Batch>>,
    state: watch::Sender<PublisherState>,
) {
    let mut failures = 0_u32;
    loop {
        let connecting = open(&address, &name);
        let opened = tokio::select! {
            opened = connecting => opened,
            () = refuse_all(&mut queue, &state) => return,
        };
        let trouble = match opened {
            Ok((connection, channels)) => {
                failures = 0;
                if state.send_replace(PublisherState::Up) != PublisherState::Up {
                    tracing::info!(broker = ?address, "publisher connected");
                }
                match Pipeline::new(&connection, channels, &state).run(&mut queue).await {
                    Some(trouble) => PublisherState::Down(trouble),
                    None => return,
                }
            }
            Err(EngineError::Denied { detail, .. }) => PublisherState::Denied(detail),
            Err(error) => PublisherState::Down(PublishTrouble::unavailable(describe(&error))),
        };
        failures = failures.saturating_add(1);
        report(&state, trouble, &address);
        tokio::select! {
            () = tokio::time::sleep(RECONNECT.delay(failures, &ambient)) => {}
            () = refuse_all(&mut queue, &state) => return,
        }
    }
}

/// Logs each change of kind once; error texts of single attempts may differ.
fn report(state: &watch::Sender<PublisherState>, trouble: PublisherState, address: &Address) {
    let before = state.send_replace(trouble.clone());
    let initial = before == PublisherState::Down(PublishTrouble::unavailable(NOT_CONNECTED));
    if initial || std::mem::discriminant(&before) != std::mem::discriminant(&trouble) {
        tracing::warn!(broker = ?address, state = ?trouble, "publisher disconnected, reconnecting");
    }
}

async fn open(address: &Address, name: &str) -> Result<(Connection, Vec<Channel>), EngineError> {
    let connection = address.connect(name).await?;
    let mut channels = Vec::with_capacity(CHANNELS);
    for _ in 0..CHANNELS {
        let channel = answer(connection.create_channel()).await?;
        answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        channels.push(channel);
    }
    Ok((connection, channels))
}

/// Rejects batches while there is no connection. Returns when all senders are dropped.
async fn refuse_all(queue: &mut mpsc::Receiver<Arc<Batch>>, state: &watch::Sender<PublisherState>) {
    while let Some(batch) = queue.recv().await {
        // The end of the connection is no failure of these messages: they are retried on the next one.
        let why = match &*state.borrow() {
            PublisherState::Down(trouble) => trouble.detail.clone(),
            PublisherState::Denied(why) => why.clone(),
            PublisherState::Up | PublisherState::Blocked => "the connection ended".to_owned(),
        };
        for ticket in Batch::tickets(&batch) {
            ticket.settle(Err(Failure::Unknown(PublishTrouble::unavailable(why.clone()))));
        }
    }
}

type Confirmed = (u64, lapin::Result<Confirmation>);

struct Pipeline<'a> {
    connection: &'a Connection,
    channels: Vec<Channel>,
    state: &'a watch::Sender<PublisherState>,
    next_channel: usize,
    next_number: u64,
    /// Messages not sent yet, each with the index of its channel.
    waiting: VecDeque<(usize, Ticket)>,
    sent: HashMap<u64, Ticket>,
    confirms: FuturesUnordered<BoxFuture<'static, Confirmed>>,
    /// Ids of returned messages that came with another message's confirm.
    returned: HashSet<String>,
    progress_at: Instant,
}

impl<'a> Pipeline<'a> {
    fn new(
        connection: &'a Connection,
        channels: Vec<Channel>,
        state: &'a watch::Sender<PublisherState>,
    ) -> Self {
        Self {
            connection,
            channels,
            state,
            next_channel: 0,
            next_number: 0,
            waiting: VecDeque::new(),
            sent: HashMap::new(),
            confirms: FuturesUnordered::new(),
            returned: HashSet::new(),
            progress_at: Instant::now(),
        }
    }

    /// Returns the reason for which the connection ended; `None` when all senders are dropped.
    async fn run(mut self, queue: &mut mpsc::Receiver<Arc<Batch>>) -> Option<PublishTrouble> {
        let trouble = self.publish_until_trouble(queue).await?;
        for ticket in self.take_tickets() {
            ticket.settle(Err(Failure::Unknown(trouble.clone())));
        }
        Some(trouble)
    }

    async fn publish_until_trouble(
        &mut self,
        queue: &mut mpsc::Receiver<Arc<Batch>>,
    ) -> Option<PublishTrouble> {
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some((number, outcome)) = self.confirms.next() => {
                    if let Err(trouble) = self.confirmed(number, outcome) {
                        return Some(trouble);
                    }
                }
                batch = queue.recv(), if self.waiting.len() < WINDOW => self.take(batch?),
                _ = check.tick() => {
                    if let Some(why) = self.check() {
                        return Some(PublishTrouble::unavailable(why));
                    }
                }
            }
            self.fill();
        }
    }

    fn take(&mut self, batch: Arc<Batch>) {
        if *self.state.borrow() == PublisherState::Blocked {
            Batch::tickets(&batch).for_each(|ticket| ticket.settle(Err(Failure::Blocked)));
            return;
        }
        let channel = self.next_channel;
        self.next_channel = (channel + 1) % self.channels.len();
        self.waiting.extend(Batch::tickets(&batch).map(|ticket| (channel, ticket)));
    }

    fn fill(&mut self) {
        while self.confirms.len() < WINDOW
            && let Some((channel, ticket)) = self.waiting.pop_front()
        {
            if self.sent.is_empty() {
                self.progress_at = Instant::now();
            }
            let number = self.next_number;
            self.next_number += 1;
            let (channel, batch, index) =
                (self.channels[channel].clone(), ticket.batch.clone(), ticket.index);
            self.confirms.push(Box::pin(async move { (number, publish(&channel, &batch, index).await) }));
            self.sent.insert(number, ticket);
        }
    }

    /// Handles one confirm. An error of a message is one of its channel, and ends the whole connection.
    fn confirmed(&mut self, number: u64, outcome: lapin::Result<Confirmation>) -> Result<(), PublishTrouble> {
        self.progress_at = Instant::now();
        // Without a ticket, the caller has been told already that the broker is blocked.
        let ticket = self.sent.remove(&number);
        let (acked, back) = match outcome {
            Err(error) => {
                let trouble = PublishTrouble { class: classify(&error), detail: describe(&error) };
                if let Some(ticket) = ticket {
                    ticket.settle(Err(Failure::Unknown(trouble.clone())));
                }
                return Err(trouble);
            }
            Ok(Confirmation::Ack(back)) => (true, back),
            Ok(Confirmation::Nack(back)) => (false, back),
            Ok(Confirmation::NotRequested) => {
                return Err(PublishTrouble::unavailable("the channel is not in confirm mode"));
            }
        };
        if let Some(back) = back
            && let Some(id) = back.delivery.properties.message_id()
        {
            self.returned.insert(id.to_string());
        }
        if let Some(ticket) = ticket {
            let id = ticket.batch.messages[ticket.index].raw.properties.message_id();
            let came_back = !self.returned.is_empty()
                && id.as_ref().map(ShortString::as_str).is_some_and(|id| self.returned.remove(id));
            ticket.settle(match (came_back, acked) {
                (true, _) => Err(Failure::Returned),
                (false, true) => Ok(()),
                (false, false) => Err(Failure::Nacked),
            });
        }
        if self.confirms.is_empty() {
            self.returned.clear();
        }
        Ok(())
    }

    /// All messages without an outcome.
    fn take_tickets(&mut self) -> impl Iterator<Item = Ticket> {
        let sent = self.sent.drain().map(|(_, ticket)| ticket);
        sent.chain(self.waiting.drain(..).map(|(_, ticket)| ticket))
    }

    /// Returns the failure of the connection, if there is one. Blocked is not a failure: all callers are told, and it
    /// ends by itself.
    fn check(&mut self) -> Option<String> {
        let status = self.connection.status();
        if !status.connected() || self.channels.iter().any(|channel| !channel.status().connected()) {
            return Some("the broker closed the connection".to_owned());
        }
        let blocked = status.blocked();
        let was_blocked = *self.state.borrow() == PublisherState::Blocked;
        if blocked && !was_blocked {
            tracing::warn!("publishing blocked by the broker: out of memory or disk");
            self.state.send_replace(PublisherState::Blocked);
        } else if was_blocked && !blocked {
            tracing::info!("publishing unblocked by the broker");
            self.state.send_replace(PublisherState::Up);
        }
        if blocked {
            self.progress_at = Instant::now();
            self.take_tickets().for_each(|ticket| ticket.settle(Err(Failure::Blocked)));
        }
        let stuck = !self.sent.is_empty() && self.progress_at.elapsed() > STUCK_AFTER;
        stuck.then(|| "no publisher confirms from the broker".to_owned())
    }
}

/// The first poll sends, so messages are sent in the order in which their futures are pushed.
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
