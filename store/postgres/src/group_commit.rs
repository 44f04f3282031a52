//! Group commit for order placement: orders of a merchant that arrive while other orders of it are being placed share a
//! transaction.
//!
//! Guarantees: an order is placed at once while no other order of its merchant and currency is in flight. Each merchant
//! and currency has two slots. An order waits while both are busy, or while fewer orders wait than half of those in
//! flight. A free slot takes all waiting orders, up to [`BATCH_MAX`]. An order that cannot be placed does not affect
//! the others: its batch is rolled back, and each order of the batch is placed alone. An order whose caller leaves
//! before its batch starts is dropped; a batch that has started continues without the caller. Merchants do not wait for
//! each other. Memory is bounded by the requests in flight.
//!
//! Rationale: three quarters of an order's cost on the server can be shared, and a product in demand is locked for all
//! of it (docs/BENCHMARKS.md, `accept_cost_postgres`). Rejected: waiting briefly for further orders, which delays every
//! order of a quiet shop; and starting a batch whenever a slot is free: beside one large batch the other slot then
//! places one order after the other, which cost an eighth of the acceptance rate (docs/BENCHMARKS.md).

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::{
    ids::Uuid,
    postgres::{Class, Classified},
};
use futures::{StreamExt, stream};
use store::{
    domain::{Currency, MerchantId},
    orders::{NewOrder, PlaceOutcome},
};
use tokio::{runtime::Handle, sync::oneshot};

use super::{database::OrderDatabase, fault::PostgresFault, place_order};

/// Slots per merchant and currency: while one transaction is being flushed, the next is prepared.
const SLOTS: usize = 2;
/// Orders of one transaction at most.
const BATCH_MAX: usize = 32;
/// Orders of a failed batch that are placed concurrently.
const ALONE_AT_A_TIME: usize = 4;

/// The orders in flight and the waiting orders of all merchants. Clones share them.
#[derive(Clone, Default)]
pub(super) struct GroupCommit(Arc<Mutex<HashMap<Key, BatchQueue>>>);

/// Orders with the same key may share a transaction: merchant, currency, the number of the database, and the merchant
/// of the fence, if any.
type Key = (MerchantId, Currency, u16, Option<Uuid>);

/// The slots and waiters of one key; removed when all its slots are free.
#[derive(Default)]
struct BatchQueue {
    slots_taken: usize,
    /// Orders in the busy slots.
    in_flight: usize,
    /// Empty while all slots are free.
    waiting: VecDeque<Waiter>,
}

impl BatchQueue {
    fn can_start(&self, orders: usize) -> bool {
        orders > 0 && self.slots_taken < SLOTS && orders * 2 >= self.in_flight
    }

    fn start(&mut self, orders: usize) {
        self.slots_taken += 1;
        self.in_flight += orders;
    }

    /// The waiting orders that start now, if they may.
    fn next_batch(&mut self) -> Option<Vec<Waiter>> {
        if !self.can_start(self.waiting.len()) {
            return None;
        }
        let orders = self.waiting.len().min(BATCH_MAX);
        self.start(orders);
        Some(self.waiting.drain(..orders).collect())
    }
}

struct Waiter {
    order: NewOrder,
    reply_to: oneshot::Sender<Answer>,
}

/// If the server is unavailable to the batch transaction, every order in it fails with the same error.
type Answer = Result<PlaceOutcome, Arc<PostgresFault>>;

impl GroupCommit {
    /// Places an order, maybe together with others.
    pub(super) async fn place(
        &self,
        database: OrderDatabase,
        order: NewOrder,
    ) -> Result<PlaceOutcome, PostgresFault> {
        let key = (order.merchant, order.currency, database.number(), database.fence());
        let waiting = match self.enter(key, order) {
            Admission::Alone(order) => {
                let slot = SlotGuard { groups: self.clone(), database, key, orders: 1 };
                return place_alone(&slot.database, &order).await;
            }
            Admission::Waiting { waiting, batch } => {
                self.start_batch(&database, key, batch);
                waiting
            }
        };
        match waiting.await {
            Ok(Ok(placement)) => Ok(placement),
            Ok(Err(fault)) => Err(Arc::try_unwrap(fault).unwrap_or_else(PostgresFault::Batch)),
            Err(ended) => Err(PostgresFault::BatchEnded(ended)),
        }
    }

    fn start_batch(&self, database: &OrderDatabase, key: Key, batch: Option<Vec<Waiter>>) {
        let Some(waiters) = batch else { return };
        let slot = SlotGuard { groups: self.clone(), database: database.clone(), key, orders: waiters.len() };
        // Without a runtime no caller waits any more.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move { place_batch(&slot.database, waiters).await });
    }
}

async fn place_alone(database: &OrderDatabase, order: &NewOrder) -> Result<PlaceOutcome, PostgresFault> {
    database.write(order, |unit, new| Box::pin(place_order::place(unit, new))).await
}

async fn place_batch(database: &OrderDatabase, waiters: Vec<Waiter>) {
    let waiters = waiters.into_iter().filter(|waiter| !waiter.reply_to.is_closed());
    let (mut orders, told): (Vec<_>, Vec<_>) = waiters.map(|waiter| (waiter.order, waiter.reply_to)).unzip();
    // The orders of a batch share the time, as they share the transaction.
    let at = orders.iter().map(|order| order.at).max();
    for order in &mut orders {
        order.at = at.unwrap_or(order.at);
    }
    let placed = match orders.len() {
        0 => return,
        1 => Ok(None),
        _ => database.write(&orders, |unit, new| Box::pin(place_order::place_all(unit, new))).await,
    };
    match placed {
        Ok(Some(placed)) => {
            for (told, placed) in told.into_iter().zip(placed) {
                reply(told, Ok(placed));
            }
        }
        Err(fault) if matches!(fault.class(), Class::Unavailable | Class::PoolExhausted) => {
            let fault = Arc::new(fault);
            for told in told {
                reply(told, Err(Arc::clone(&fault)));
            }
        }
        Ok(None) | Err(_) => {
            stream::iter(told.into_iter().zip(&orders))
                .for_each_concurrent(ALONE_AT_A_TIME, |(told, order)| async move {
                    reply(told, place_alone(database, order).await.map_err(Arc::new));
                })
                .await;
        }
    }
}

/// Sends the answer. A caller that is gone may repeat the request under its key.
fn reply(told: oneshot::Sender<Answer>, answer: Answer) {
    drop(told.send(answer));
}

enum Admission {
    /// Place the order at once; the caller creates a [`SlotGuard`].
    Alone(Box<NewOrder>),
    /// Wait for the answer; the caller starts `group`, if there is one.
    Waiting { waiting: oneshot::Receiver<Answer>, batch: Option<Vec<Waiter>> },
}

impl GroupCommit {
    fn enter(&self, key: Key, order: NewOrder) -> Admission {
        let mut lines = self.lines();
        let line = lines.entry(key).or_default();
        if line.waiting.is_empty() && line.can_start(1) {
            line.start(1);
            return Admission::Alone(Box::new(order));
        }
        let (told, waiting) = oneshot::channel();
        line.waiting.push_back(Waiter { order, reply_to: told });
        Admission::Waiting { waiting, batch: line.next_batch() }
    }

    /// Frees a slot with this number of orders; returns the batch that starts next.
    fn next(&self, key: Key, orders: usize) -> Option<Vec<Waiter>> {
        let mut lines = self.lines();
        let Entry::Occupied(mut entry) = lines.entry(key) else { return None };
        let line = entry.get_mut();
        line.slots_taken -= 1;
        line.in_flight -= orders;
        let group = line.next_batch();
        if line.slots_taken == 0 {
            entry.remove();
        }
        group
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Key, BatchQueue>> {
        // Each change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Slot guard: on drop it frees the slot and starts the next batch.
struct SlotGuard {
    groups: GroupCommit,
    database: OrderDatabase,
    key: Key,
    orders: usize,
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let batch = self.groups.next(self.key, self.orders);
        self.groups.start_batch(&self.database, self.key, batch);
    }
}
