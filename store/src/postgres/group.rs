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

use super::{PostgresOrders, fault::Fault, placement};
use crate::{
    domain::{Currency, MerchantId},
    engine::STORE,
    error::StoreError,
    orders::{NewOrder, Placement},
};

/// Transactions of a merchant and currency at a time: while one is being flushed, the next is made.
const TURNS: usize = 2;
/// Orders of one transaction at most.
const GROUP_MAX: usize = 32;
/// Orders of a group that failed which are placed at a time.
const ALONE_AT_A_TIME: usize = 4;

/// Who is placed and who waits. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Groups(Arc<Mutex<HashMap<Key, Line>>>);

/// Whose orders are placed together. The last: those that pass a fence, with their like.
type Key = (MerchantId, Currency, Option<Uuid>);

/// Removed when nobody is in it.
#[derive(Default)]
struct Line {
    turns: usize,
    /// Orders in them.
    going: usize,
    /// Only while a turn is taken.
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

    /// Those whose turn it is.
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

/// A group's fault is that of all its orders.
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
            // The runtime ends, or the group panicked.
            Err(ended) => Err(unavailable(ended)),
        }
    }

    fn set_off(&self, key: Key, group: Option<Vec<Seat>>) {
        let Some(seats) = group else { return };
        let turn = Turn { store: self.clone(), key, orders: seats.len() };
        // Without a runtime nobody waits any more.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move { turn.store.place_group(seats).await });
    }

    async fn place_alone(&self, order: &NewOrder) -> Result<Placement, Fault> {
        self.write(order, |unit, new| Box::pin(placement::place(unit, new))).await
    }

    async fn place_group(&self, seats: Vec<Seat>) {
        let seats = seats.into_iter().filter(|seat| !seat.told.is_closed());
        let (mut orders, told): (Vec<_>, Vec<_>) = seats.map(|seat| (seat.order, seat.told)).unzip();
        // They share the moment, as they share the transaction.
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

/// A caller that has gone away asks again under its key.
fn tell(told: oneshot::Sender<Answer>, answer: Answer) {
    drop(told.send(answer));
}

fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable { store: STORE, source: Box::new(source) }
}

enum Entered {
    /// At once; whoever gets it makes a [`Turn`].
    Turn(Box<NewOrder>),
    /// With the group that sets off now, if one does.
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

    /// A turn of so many ends; answers who takes it over.
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
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to place; passed on when it ends, however it ends.
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
