//! Who is placed together with whom: orders of a merchant that arrive while others of it are being placed share a
//! transaction.
//!
//! Guarantees: nobody waits while nobody else is being placed. A merchant and currency have two turns; one that comes while
//! both are taken waits, and so do those who are few beside a large group that has set off: fewer than half of it. The next
//! turn takes all that wait, up to [`GROUP_MAX`]. One that cannot be placed hinders no other: its group leaves no trace, and
//! each of it is placed alone. A caller that goes away before its group sets off is left out; after that the group goes on
//! without it. Merchants do not wait for each other. Bounded by the requests under way.
//!
//! Why: of what an order costs the server, three quarters can be shared, and a product in demand is locked for all of it
//! (docs/BENCHMARKS.md, `accept_cost_postgres`). Rejected: to wait a moment for others to come, which delays every order
//! of a quiet shop; and to set off whenever a turn is free: beside one large group the other turn runs with one order after
//! the other, which cost an eighth of the acceptance rate (docs/BENCHMARKS.md).

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::{
    ids::Uuid,
    postgres::{Class, Classified},
};
use futures::{StreamExt, stream};
use tokio::{runtime::Handle, sync::oneshot};

use super::{PostgresOrders, fault::PostgresFault, place_order};
use crate::{
    domain::{Currency, MerchantId},
    error::StoreError,
    orders::{NewOrder, PlaceOutcome},
    rules::STORE,
};

/// Transactions of a merchant and currency at a time: while one is being flushed, the next is made.
const SLOTS: usize = 2;
/// Orders of one transaction at most.
const BATCH_MAX: usize = 32;
/// Orders of a group that failed which are placed at a time.
const ALONE_AT_A_TIME: usize = 4;

/// Who is placed and who waits. Clones share it.
#[derive(Clone, Default)]
pub(super) struct GroupCommit(Arc<Mutex<HashMap<Key, BatchQueue>>>);

/// Whose orders are placed together. The last: those that pass a fence, with their like.
type Key = (MerchantId, Currency, Option<Uuid>);

/// Removed when nobody is in it.
#[derive(Default)]
struct BatchQueue {
    slots_taken: usize,
    /// Orders in them.
    in_flight: usize,
    /// Only while a turn is taken.
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

    /// Those whose turn it is.
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

/// A group's fault is that of all its orders.
type Answer = Result<PlaceOutcome, Arc<PostgresFault>>;

impl PostgresOrders {
    /// Places an order, maybe together with others.
    pub(super) async fn place(&self, order: NewOrder) -> Result<PlaceOutcome, StoreError> {
        let key = (order.merchant, order.currency, self.fenced);
        let waiting = match self.groups.enter(key, order) {
            Admission::Alone(order) => {
                let _turn = SlotGuard { store: self.clone(), key, orders: 1 };
                return Ok(self.place_alone(&order).await?);
            }
            Admission::Waiting { waiting, batch: group } => {
                self.start_batch(key, group);
                waiting
            }
        };
        match waiting.await {
            Ok(Ok(placement)) => Ok(placement),
            Ok(Err(fault)) => Err(Arc::try_unwrap(fault).map_or_else(unavailable, Into::into)),
            // The runtime ends, or the group panicked.
            Err(ended) => Err(unavailable(ended)),
        }
    }

    fn start_batch(&self, key: Key, group: Option<Vec<Waiter>>) {
        let Some(seats) = group else { return };
        let turn = SlotGuard { store: self.clone(), key, orders: seats.len() };
        // Without a runtime nobody waits any more.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move { turn.store.place_batch(seats).await });
    }

    async fn place_alone(&self, order: &NewOrder) -> Result<PlaceOutcome, PostgresFault> {
        self.write(order, |unit, new| Box::pin(place_order::place(unit, new))).await
    }

    async fn place_batch(&self, seats: Vec<Waiter>) {
        let seats = seats.into_iter().filter(|seat| !seat.reply_to.is_closed());
        let (mut orders, told): (Vec<_>, Vec<_>) = seats.map(|seat| (seat.order, seat.reply_to)).unzip();
        // They share the moment, as they share the transaction.
        let at = orders.iter().map(|order| order.at).max();
        for order in &mut orders {
            order.at = at.unwrap_or(order.at);
        }
        let placed = match &orders[..] {
            [] => return,
            [_] => Ok(None),
            several => self.write(several, |unit, new| Box::pin(place_order::place_all(unit, new))).await,
        };
        match placed {
            Ok(Some(placed)) => {
                for (told, placed) in told.into_iter().zip(placed) {
                    reply(told, Ok(placed));
                }
            }
            Err(fault) if fault.class() == Class::Unavailable => {
                let fault = Arc::new(fault);
                for told in told {
                    reply(told, Err(Arc::clone(&fault)));
                }
            }
            Ok(None) | Err(_) => {
                stream::iter(told.into_iter().zip(&orders))
                    .for_each_concurrent(ALONE_AT_A_TIME, |(told, order)| async move {
                        reply(told, self.place_alone(order).await.map_err(Arc::new));
                    })
                    .await;
            }
        }
    }
}

/// A caller that has gone away asks again under its key.
fn reply(told: oneshot::Sender<Answer>, answer: Answer) {
    drop(told.send(answer));
}

fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable { store: STORE, source: Box::new(source) }
}

enum Admission {
    /// At once; whoever gets it makes a [`Turn`].
    Alone(Box<NewOrder>),
    /// With the group that sets off now, if one does.
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

    /// A turn of so many ends; answers who takes it over.
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
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to place; passed on when it ends, however it ends.
struct SlotGuard {
    store: PostgresOrders,
    key: Key,
    orders: usize,
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let group = self.store.groups.next(self.key, self.orders);
        self.store.start_batch(self.key, group);
    }
}
