//! The engine of the distributed mode: quorum queues of `RabbitMQ` 3.10 or later, and a relational job store beside
//! them for state that a broker cannot keep.
//!
//! Guarantees the whole of [`crate::engine`] except for the flags below: a published job is confirmed by a majority, a
//! settled one is acknowledged only after its settlement is durable, and a consumer that loses its connection or a
//! channel ends, for its worker to start the next one. A plain job touches the broker only. A broker of a single node
//! does not replicate: then a confirmed job survives a restart, no more.
//!
//! # Capabilities, and why
//! - `exact_priority: false`. One queue per priority; deliveries already sent to a consumer are not withdrawn when one
//!   of higher priority arrives. Of the deliveries a consumer holds, the highest priority is dispatched first, but for
//!   the share of the lower ones.
//! - `dedupes_ids: false`. The broker keeps no index of ids, and a lookup in a store would be on the hot path.
//!   Publishing an id twice runs it twice; handlers are idempotent by it.
//! - `lists_ready: false`, `lists_delayed: false`, `cancels_ready: false`. A queue cannot be searched. A cancel request
//!   is kept in the job store and takes effect when its job is delivered; hence the result for an unknown id is
//!   `Requested`, too, while any job waits in the broker. Running jobs of other processes are known by the notes of
//!   their consumers, about two seconds late.
//! - `fifo: true`. One batch uses one channel; a job released while its consumer continues keeps its position. A job
//!   released by `close` goes to the end of its queue.
//! - `order_keys: true`. Of each key one job at a time is in the broker; the others wait in the job store.
//! - `fair_share: true`, but for the jobs that are in the broker already: 64, or twice what its consumers hold.
//! - `concurrency_keys: false`. Keys hold within one engine handle, over all its queues.
//! - `longest_run` is 25 minutes. The broker takes a delivery away that is not acknowledged for 30.
//!
//! # Rooms
//! - `wire`: connections, the message format, names and arguments of broker queues, error classes;
//! - `publish`: confirms, routing by delay, events;
//! - `fair`: the backlog of fair queues in the job store, and the task that moves it to the broker;
//! - `order`: the heads of order keys, and the task that publishes them;
//! - `consume`: one session and one connection per consumer, acknowledgements and other settlements;
//! - `admin`: depths, listings, dead jobs, pauses and cancel requests, queues of earlier releases, and the background
//!   tasks.

mod admin;
mod client;
mod consume;
mod fair;
mod order;
mod publish;
mod wire;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use base::Ambient;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::{
    admin::{housekeeping, ladder, mailbox, older},
    client::RabbitClient,
    consume::{keys::Keys, solo::Solo},
    fair::fill,
    publish::publisher::Publisher,
    wire::{
        connect::{Address, AdminConnection},
        fault::ENGINE,
    },
};
pub use self::{client::RabbitEngine, wire::connect::RabbitServer};
use crate::{
    engine::{Capabilities, EngineError, EngineInfo},
    job_store::JobStore,
};

impl RabbitEngine {
    /// An engine for this broker; the names of its connections begin with `name`. Must be called within a tokio
    /// runtime.
    ///
    /// Does not wait for the broker, which may be down.
    ///
    /// # Errors
    /// [`EngineError::Denied`] for a malformed address. A wrong password or virtual host is reported as
    /// [`EngineError::Denied`] by the first use.
    pub fn new(
        server: RabbitServer<'_>,
        name: &str,
        store: Arc<dyn JobStore>,
        ambient: Ambient,
    ) -> Result<Self, EngineError> {
        let address = Address::parse(server)?;
        let admin = Arc::new(AdminConnection::new(address.clone(), format!("{name} inspects")));
        let publishes = format!("{name} publishes");
        let client = RabbitClient {
            publisher: Publisher::start(address.clone(), publishes, ambient.clone(), admin.clone()),
            admin,
            address,
            ambient,
            store,
            control: watch::Sender::default(),
            control_reads: AtomicU64::new(0),
            control_applied: AtomicU64::new(0),
            keys: Arc::new(Keys::default()),
            solo: Solo::default(),
            fair: Arc::default(),
            heads_due: Arc::default(),
            consumers: Mutex::default(),
            declared: Mutex::default(),
            uncleared: Mutex::default(),
            draining: tokio::sync::Mutex::default(),
        };
        let client = Arc::new(client);
        tokio::spawn(housekeeping::run(Arc::downgrade(&client)));
        tokio::spawn(mailbox::run(Arc::downgrade(&client)));
        tokio::spawn(older::run(Arc::downgrade(&client)));
        tokio::spawn(ladder::run(Arc::downgrade(&client)));
        tokio::spawn(fill::run(Arc::downgrade(&client)));
        tokio::spawn(order::run(Arc::downgrade(&client)));
        Ok(Self { client })
    }

    /// Reason for which jobs cannot be published now, in one line; `None` when they can. For consumers see
    /// [`crate::engine::Settler::health`].
    pub fn publish_trouble(&self) -> Option<String> {
        self.client.publisher.trouble()
    }
}

/// Longest run: the broker closes the channel of a delivery that is not acknowledged within its `consumer_timeout`,
/// 30 minutes by default, counted from the delivery. The rest is for waiting in the worker and for the settlement.
const RUN_MAX: Duration = Duration::from_mins(25);

impl EngineInfo for RabbitEngine {
    fn name(&self) -> &'static str {
        ENGINE
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exact_priority: false,
            dedupes_ids: false,
            lists_ready: false,
            lists_delayed: false,
            cancels_ready: false,
            fifo: true,
            concurrency_keys: false,
            fair_share: true,
            order_keys: true,
            isolates_suspects: true,
            publishes_events: true,
            longest_run: Some(RUN_MAX),
        }
    }
}
