//! [`Admission`] in memory: the load of the installation, and waiting rooms.

use std::cmp::Reverse;

use async_trait::async_trait;
use base::{Timestamp, ids::floor};
use store::{
    admission::{
        Admission, ENDED_MAX, EndedOrder, LoadSpan, OPEN_COUNTED_MAX, OrderLoad, PLACES_MAX, ROOMS_MAX,
        RoomProgress, STUCK_MAX, SaleMode, SaleSwitch, WAITING_LOOKED_AT_MAX, WaitingRoom,
    },
    domain::{MerchantId, Order, OrderId, OrderStatus},
    error::StoreError,
    outbox::{OutboxBody, SET_ASIDE},
    rules::admission::ends_order,
};

use super::{
    MemoryOrders,
    state::{OrdersState, OutboxRow},
};
use crate::some;

#[async_trait]
impl Admission for MemoryOrders {
    async fn order_load(&self, span: LoadSpan) -> Result<OrderLoad, StoreError> {
        let measure = |state: &OrdersState| OrderLoad {
            open: open(state, span.placed_after),
            unpaid_since: unpaid_since(state, span.placed_after),
            unsent_since: unsent_since(state),
            ended: ended(state, span.ended_after),
        };
        self.held.read("order_load", measure).await
    }

    async fn recorded_answer(&self, merchant: MerchantId, key: &str) -> Result<Option<String>, StoreError> {
        let key = (merchant, key.to_owned());
        let answer = |state: &OrdersState| state.idempotency.get(&key).map(|known| known.body.clone());
        self.held.read("recorded_answer", answer).await
    }

    async fn waiting_rooms(&self) -> Result<Vec<WaitingRoom>, StoreError> {
        let list = |state: &OrdersState| {
            let rooms = state.rooms.values().filter(|room| is_used(room)).cloned();
            rooms.take(some(ROOMS_MAX)).collect()
        };
        self.held.read("waiting_rooms", list).await
    }

    async fn waiting_room(&self, merchant: MerchantId) -> Result<Option<WaitingRoom>, StoreError> {
        self.held.read("waiting_room", |state| state.rooms.get(&merchant).cloned()).await
    }

    async fn set_sale_mode(
        &self,
        merchant: MerchantId,
        mode: SaleMode,
        key: [u8; 32],
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let set = move |state: &mut OrdersState, _| {
            if !state.merchants.contains_key(&merchant) {
                return Ok(false);
            }
            let known = state.rooms.remove(&merchant);
            let version = known.as_ref().map_or(1, |room| room.version + 1);
            let room = if let Some(room) = known.filter(is_used) {
                WaitingRoom { mode, version, stepped_at: at, ..room }
            } else {
                let progress = RoomProgress::default();
                WaitingRoom { merchant, mode, key, taken: 0, progress, version, stepped_at: at }
            };
            state.rooms.insert(merchant, room);
            Ok(true)
        };
        self.held.write("set_sale_mode", set).await
    }

    async fn take_places(&self, merchant: MerchantId, count: u32) -> Result<Option<u64>, StoreError> {
        let take = move |state: &mut OrdersState, _| {
            let room = state.rooms.get_mut(&merchant).filter(|room| is_used(room));
            Ok(room.map(|room| {
                let first = room.taken;
                room.taken += u64::from(count.clamp(1, PLACES_MAX));
                first
            }))
        };
        self.held.write("take_places", take).await
    }

    async fn step_room(
        &self,
        merchant: MerchantId,
        version: i64,
        progress: RoomProgress,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let step = move |state: &mut OrdersState, _| {
            let room = state.rooms.get_mut(&merchant).filter(|room| is_used(room) && room.version == version);
            let Some(room) = room else { return Ok(false) };
            (room.progress, room.version, room.stepped_at) = (progress, version + 1, at);
            Ok(true)
        };
        self.held.write("step_room", step).await
    }
}

fn is_used(room: &WaitingRoom) -> bool {
    room.mode.switch != SaleSwitch::Off
}

/// Orders placed after that time which wait for workers, oldest first.
fn waiting(
    state: &OrdersState,
    placed_after: Timestamp,
    is_open: fn(OrderStatus) -> bool,
) -> impl Iterator<Item = &Order> {
    let rows = state.orders.range(OrderId(floor(placed_after))..).map(|(_, row)| row);
    rows.filter(move |row| is_open(row.order.status) && !row.has_debit).map(|row| &row.order)
}

fn open(state: &OrdersState, placed_after: Timestamp) -> u64 {
    let is_open = |status| matches!(status, OrderStatus::Pending | OrderStatus::Paid);
    let count = waiting(state, placed_after, is_open).take(some(OPEN_COUNTED_MAX)).count();
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn unpaid_since(state: &OrdersState, placed_after: Timestamp) -> Option<Timestamp> {
    let pending = waiting(state, placed_after, |status| status == OrderStatus::Pending);
    let waits = |order: &&Order| !is_overtaken(state, order);
    let mut waiting = pending.take(some(WAITING_LOOKED_AT_MAX)).filter(waits);
    waiting.nth(some(STUCK_MAX)).map(|order| order.created_at)
}

/// Whether a later order of its merchant has been paid, or could not be.
fn is_overtaken(state: &OrdersState, order: &Order) -> bool {
    let mut later = state.orders.range(order.id..).map(|(_, row)| &row.order);
    later.any(|later| {
        later.id > order.id
            && later.merchant == order.merchant
            && !matches!(later.status, OrderStatus::Pending | OrderStatus::Cancelled)
    })
}

fn unsent_since(state: &OrdersState) -> Option<Timestamp> {
    let is_aside = |row: &OutboxRow| row.lease.as_ref().is_some_and(|(relay, _)| relay == SET_ASIDE);
    let mut aside: Vec<&str> = Vec::new();
    for row in state.unsent.iter().filter_map(|position| state.row(*position)) {
        if is_aside(row) {
            aside.push(&row.subject);
        } else if !aside.contains(&row.subject.as_str()) {
            return Some(row.at);
        }
    }
    None
}

fn ended(state: &OrdersState, after: Timestamp) -> Vec<EndedOrder> {
    let end = |body: &OutboxBody| {
        let OutboxBody::Event(event) = body else { return None };
        Some(EndedOrder { order: event.order?, at: event.at, is_fulfilled: ends_order(event.kind)? })
    };
    let ends = state.outbox.iter().filter_map(|row| end(&row.body));
    let mut ended: Vec<_> = ends.filter(|ended| ended.at > after).collect();
    ended.sort_by_key(|ended| Reverse(ended.at));
    ended.truncate(some(ENDED_MAX));
    ended
}
