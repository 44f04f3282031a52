//! Group commit for order placement: orders of a merchant that arrive while other orders of it are being placed share a
//! transaction.
//!
//! Guarantees: an order is placed at once while no other order of its merchant and currency is in flight. Each merchant
//! and currency has two slots. An order waits while both are busy, or while fewer orders wait than half of those in
//! flight. A free slot takes all waiting orders, up to [`GROUP_MAX`]. An order that cannot be placed does not affect
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
use tokio::{runtime::Handle, sync::oneshot};

use super::{PostgresOrders, fault::Fault, placement};
use crate::{
    domain::{Currency, MerchantId},
    engine::STORE,
    error::StoreError,
    orders::{NewOrder, Placement},
};

/// Slots per merchant and currency: while one transaction is being flushed, the next is prepared.
const TURNS: usize = 2;
/// Orders of one transaction at most.
const GROUP_MAX: usize = 32;
/// Orders of a failed batch that are placed concurrently.
const ALONE_AT_A_TIME: usize = 4;

/// The orders in flight and the waiting orders of all merchants. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Groups(Arc<Mutex<HashMap<Key, Line>>>);

/// Orders with the same key may share a transaction: merchant, currency, and the merchant of the fence, if any.
type Key = (MerchantId, Currency, Option<Uuid>);

/// The slots and waiters of one key; removed when all its slots are free.
#[derive(Default)]
struct Line {
    turns: usize,
    /// Orders in the busy slots.
    going: usize,
    /// Empty while all slots are free.
    waiting: VecDeque<Seat>,
}

impl Line {
    fn lets_go(&self, orders: usize) -> bool {
        orders > 0 && self.turns < TURNS && orders * 2 >= self.going
    }

    fn set_off(&mut self, orders: usize) {
        self.turns += 1;
        self.going += orders;
    }

    /// The waiting orders that start now, if they may.
    fn group(&mut self) -> Option<Vec<Seat>> {
        if !self.lets_go(self.waiting.len()) {
            return None;
        }
        let orders = self.waiting.len().min(GROUP_MAX);
        self.set_off(orders);
        Some(self.waiting.drain(..orders).collect())
    }
}

struct Seat {
    order: NewOrder,
    told: oneshot::Sender<Answer>,
}

/// If the server is unavailable to the batch transaction, every order in it fails with the same error.
type Answer = Result<Placement, Arc<Fault>>;

impl PostgresOrders {
    /// Places an order, maybe together with others.
    pub(super) async fn place(&self, order: NewOrder) -> Result<Placement, StoreError> {
        let key = (order.merchant, order.currency, self.fenced);
        let waiting = match self.groups.enter(key, order) {
            Entered::Turn(order) => {
                let _turn = Turn { store: self.clone(), key, orders: 1 };
                return Ok(self.place_alone(&order).await?);
            }
            Entered::Line { waiting, group } => {
                self.set_off(key, group);
                waiting
            }
        };
        match waiting.await {
            Ok(Ok(placement)) => Ok(placement),
            Ok(Err(fault)) => Err(Arc::try_unwrap(fault).map_or_else(unavailable, Into::into)),
            // The runtime shuts down, or the task of the batch panicked.
            Err(ended) => Err(unavailable(ended)),
        }
    }

    fn set_off(&self, key: Key, group: Option<Vec<Seat>>) {
        let Some(seats) = group else { return };
        let turn = Turn { store: self.clone(), key, orders: seats.len() };
        // Without a runtime no caller waits any more.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move { turn.store.place_group(seats).await });
    }

    async fn place_alone(&self, order: &NewOrder) -> Result<Placement, Fault> {
        self.write(order, |unit, new| Box::pin(placement::place(unit, new))).await
    }

    async fn place_group(&self, seats: Vec<Seat>) {
        let seats = seats.into_iter().filter(|seat| !seat.told.is_closed());
        let (mut orders, told): (Vec<_>, Vec<_>) = seats.map(|seat| (seat.order, seat.told)).unzip();
        // The orders of a batch share the time, as they share the transaction.
        let at = orders.iter().map(|order| order.at).max();
        for order in &mut orders {
            order.at = at.unwrap_or(order.at);
        }
        let placed = match &orders[..] {
            [] => return,
            [_] => Ok(None),
            several => self.write(several, |unit, new| Box::pin(placement::place_all(unit, new))).await,
        };
        match placed {
            Ok(Some(placed)) => {
                for (told, placed) in told.into_iter().zip(placed) {
                    tell(told, Ok(placed));
                }
            }
            Err(fault) if fault.class() == Class::Unavailable => {
                let fault = Arc::new(fault);
                for told in told {
                    tell(told, Err(Arc::clone(&fault)));
                }
            }
            Ok(None) | Err(_) => {
                stream::iter(told.into_iter().zip(&orders))
                    .for_each_concurrent(ALONE_AT_A_TIME, |(told, order)| async move {
                        tell(told, self.place_alone(order).await.map_err(Arc::new));
                    })
                    .await;
            }
        }
    }
}

/// Sends the answer. A caller that is gone may repeat the request under its key.
fn tell(told: oneshot::Sender<Answer>, answer: Answer) {
    drop(told.send(answer));
}

fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable { store: STORE, source: Box::new(source) }
}

enum Entered {
    /// Place the order at once; the caller creates a [`Turn`].
    Turn(Box<NewOrder>),
    /// Wait for the answer; the caller starts `group`, if there is one.
    Line { waiting: oneshot::Receiver<Answer>, group: Option<Vec<Seat>> },
}

impl Groups {
    fn enter(&self, key: Key, order: NewOrder) -> Entered {
        let mut lines = self.lines();
        let line = lines.entry(key).or_default();
        if line.waiting.is_empty() && line.lets_go(1) {
            line.set_off(1);
            return Entered::Turn(Box::new(order));
        }
        let (told, waiting) = oneshot::channel();
        line.waiting.push_back(Seat { order, told });
        Entered::Line { waiting, group: line.group() }
    }

    /// Frees a slot with this number of orders; returns the batch that starts next.
    fn next(&self, key: Key, orders: usize) -> Option<Vec<Seat>> {
        let mut lines = self.lines();
        let Entry::Occupied(mut entry) = lines.entry(key) else { return None };
        let line = entry.get_mut();
        line.turns -= 1;
        line.going -= orders;
        let group = line.group();
        if line.turns == 0 {
            entry.remove();
        }
        group
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Key, Line>> {
        // Each change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Slot guard: on drop it frees the slot and starts the next batch.
struct Turn {
    store: PostgresOrders,
    key: Key,
    orders: usize,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let group = self.store.groups.next(self.key, self.orders);
        self.store.set_off(self.key, group);
    }
}
