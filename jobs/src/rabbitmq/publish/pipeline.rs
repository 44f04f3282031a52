//! The publishing task behind [`super::publisher`]: connects, keeps the window of unconfirmed messages full,
//! reconnects.
//!
//! Which of the messages in flight were confirmed is decided in [`super::in_flight`].

use std::{collections::VecDeque, sync::Arc, time::Duration};

use base::Ambient;
use lapin::{Channel, Connection, options::ConfirmSelectOptions};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior},
};

use super::{
    batch::{Batch, Failure, NOT_CONNECTED, PublishTrouble, PublisherState, Ticket},
    in_flight::InFlight,
};
use crate::{
    engine::EngineError,
    error::describe,
    job::Backoff,
    rabbitmq::wire::{connect::Address, fault::answer},
};

/// Messages not sent yet from which on callers wait.
const WAITING_MAX: usize = 512;
/// Channels that share the messages to queues: each is a process of its own in the broker.
const QUEUE_CHANNELS: usize = 2;
/// Index of the channel of messages to exchanges. The broker closes it when an exchange is missing; then it alone is
/// opened again.
const EXCHANGES: usize = QUEUE_CHANNELS;
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
    let mut channels = Vec::with_capacity(QUEUE_CHANNELS + 1);
    for _ in 0..=QUEUE_CHANNELS {
        channels.push(open_channel(&connection).await?);
    }
    Ok((connection, channels))
}

async fn open_channel(connection: &Connection) -> Result<Channel, EngineError> {
    let channel = answer(connection.create_channel()).await?;
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
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
            ticket.settle(Err(Failure::NotSent(PublishTrouble::unavailable(why.clone()))));
        }
    }
}

struct Pipeline<'a> {
    connection: &'a Connection,
    channels: Vec<Channel>,
    state: &'a watch::Sender<PublisherState>,
    next_channel: usize,
    /// Messages not sent yet, each with the index of its channel.
    waiting: VecDeque<(usize, Ticket)>,
    in_flight: InFlight,
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
            waiting: VecDeque::new(),
            in_flight: InFlight::default(),
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
                Some(first) = self.in_flight.next() => {
                    self.progress_at = Instant::now();
                    if let Err(trouble) = self.in_flight.take_round(first) {
                        return Some(trouble);
                    }
                }
                batch = queue.recv(), if self.waiting.len() < WAITING_MAX => self.take(batch?),
                _ = check.tick() => {
                    if let Some(why) = self.check() {
                        return Some(PublishTrouble::unavailable(why));
                    }
                }
            }
            if self.in_flight.exchange_failed()
                && let Err(error) = self.replace_exchange_channel().await
            {
                return Some(PublishTrouble::unavailable(describe(&error)));
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
        self.next_channel = (channel + 1) % QUEUE_CHANNELS;
        self.waiting.extend(Batch::tickets(&batch).map(|ticket| {
            let by_exchange = ticket.message().is_by_exchange();
            (if by_exchange { EXCHANGES } else { channel }, ticket)
        }));
    }

    async fn replace_exchange_channel(&mut self) -> Result<(), EngineError> {
        if !self.channels[EXCHANGES].status().connected() {
            self.channels[EXCHANGES] = open_channel(self.connection).await?;
        }
        Ok(())
    }

    fn fill(&mut self) {
        while self.in_flight.has_room()
            && let Some((channel, ticket)) = self.waiting.pop_front()
        {
            if self.in_flight.is_empty() {
                self.progress_at = Instant::now();
            }
            self.in_flight.push(self.channels[channel].clone(), ticket);
        }
    }

    /// All messages without an outcome.
    fn take_tickets(&mut self) -> impl Iterator<Item = Ticket> {
        self.in_flight.take_tickets().chain(self.waiting.drain(..).map(|(_, ticket)| ticket))
    }

    /// Returns the failure of the connection, if there is one. Blocked is not a failure: all callers are told, and it
    /// ends by itself.
    fn check(&mut self) -> Option<String> {
        let status = self.connection.status();
        if !status.connected()
            || self.channels[..EXCHANGES].iter().any(|channel| !channel.status().connected())
        {
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
        let stuck = !self.in_flight.is_empty() && self.progress_at.elapsed() > STUCK_AFTER;
        stuck.then(|| "no publisher confirms from the broker".to_owned())
    }
}
