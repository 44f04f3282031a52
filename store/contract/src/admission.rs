//! Load of the installation and waiting rooms of merchants: what the admission of orders is decided by.
//!
//! Guarantees: [`Admission::order_load`] reads a bounded number of rows, whatever the backlog; an order that is stuck
//! (its job is dead, its payment needs manual action) is not taken for a backlog. Places in a waiting room are numbered
//! without gaps in the order in which they were taken, over all processes; a room that one process has changed since it
//! was read is not changed by another. Decides nothing itself: the rules are the API's.

use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{MerchantId, OrderId},
    error::Result,
    names::names,
};

/// Open orders counted at most: of more, the drain takes so long that their number no longer matters.
pub const OPEN_COUNTED_MAX: u32 = 50_000;
/// Ended orders read at most, the latest.
pub const ENDED_MAX: u32 = 500;
/// Oldest pending orders looked at for one that waits.
pub const WAITING_LOOKED_AT_MAX: u32 = 100;
/// Orders that wait longer than the others and are no backlog: jobs that wait for an operator.
pub const STUCK_MAX: u32 = 10;
/// Rooms read at once at most.
pub const ROOMS_MAX: u32 = 1_000;
/// Places taken by one call at most.
pub const PLACES_MAX: u32 = 10_000;

/// What of the past a measurement looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadSpan {
    /// Orders that ended before do not count.
    pub ended_after: Timestamp,
    /// Orders that were placed before do not count as open: orders placed much later have ended, so these are stuck.
    pub placed_after: Timestamp,
}

/// One measurement of the orders under way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderLoad {
    /// Orders that are `pending` or `paid`, at most [`OPEN_COUNTED_MAX`]; without those with a bank debit under way,
    /// which wait for a bank.
    pub open: u64,
    /// When the oldest order was placed whose payment waits. Beyond the [`STUCK_MAX`] oldest, and without orders that a
    /// later order of their merchant has overtaken.
    pub unpaid_since: Option<Timestamp>,
    /// When the oldest message was written that waits for a relay; without messages that are set aside, and those that
    /// wait for one.
    pub unsent_since: Option<Timestamp>,
    /// Orders that ended lately, the latest first, at most [`ENDED_MAX`].
    pub ended: Vec<EndedOrder>,
}

/// An order that was fulfilled or could not be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedOrder {
    pub order: OrderId,
    pub at: Timestamp,
    /// False: the payment failed.
    pub is_fulfilled: bool,
}

/// When a merchant's shoppers go through the waiting room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaleSwitch {
    /// Never.
    Off,
    /// Always.
    On,
    /// While the installation is behind with orders.
    ByLoad,
}

names!(SaleSwitch, "switch of the sale mode", { Off => "off", On => "on", ByLoad => "by_load" });

/// The order in which shoppers are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomOrder {
    /// First come, first served.
    Fifo,
    /// Those who came before the room opens are drawn by lot; those who come later follow in the order of arrival.
    Random,
}

names!(RoomOrder, "order of a waiting room", { Fifo => "fifo", Random => "random" });

/// The sale mode of a merchant, as its operator sets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaleMode {
    pub switch: SaleSwitch,
    pub order: RoomOrder,
    /// Shoppers admitted at the same time at most, 1 to 1,000,000.
    pub active_max: u32,
    /// Shoppers admitted per minute at most, 1 to 1,000,000; fewer while the installation drains fewer orders.
    pub per_minute_max: u32,
    /// Seconds for which an admitted shopper may order, 60 to 86,400.
    pub active_seconds: u32,
    /// From then on shoppers go through the room, where the switch is on; `None`: at once.
    pub begins_at: Option<Timestamp>,
    /// Until then shoppers only gather; `None`: the room admits at once.
    pub opens_at: Option<Timestamp>,
    /// From then on they go through it no more; `None`: until it is switched off.
    pub ends_at: Option<Timestamp>,
}

impl SaleMode {
    /// Time for which an admitted shopper may order.
    pub fn active_for(&self) -> Duration {
        Duration::from_secs(u64::from(self.active_seconds))
    }
}

/// How far a room has come. Places are numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoomProgress {
    /// Ranks below this one are admitted, or were.
    pub admitted: u64,
    /// Places below this one are drawn by lot: those taken before the room opened, where its order is random.
    pub drawn: u64,
    /// Whether shoppers go through the room, where that is decided by load.
    pub is_forced: bool,
    /// Whether the room has opened.
    pub is_open: bool,
    /// `admitted` at earlier times, in milliseconds since the epoch, oldest first.
    pub history: Vec<(i64, u64)>,
}

/// A merchant's waiting room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRoom {
    pub merchant: MerchantId,
    pub mode: SaleMode,
    /// Key of the signatures of places; another one whenever the room is switched on.
    pub key: [u8; 32],
    /// Places taken so far.
    pub taken: u64,
    pub progress: RoomProgress,
    /// Changes of the room so far; a step names the one it has read.
    pub version: i64,
    /// Time of the last step or change.
    pub stepped_at: Timestamp,
}

/// Measurements and waiting rooms.
#[async_trait]
pub trait Admission: Send + Sync + 'static {
    /// Measures the orders under way. With shards: over those that answer, and an error when none does.
    async fn order_load(&self, span: LoadSpan) -> Result<OrderLoad>;

    /// The answer to the order that was accepted under this idempotency key of the merchant, see
    /// [`crate::orders::IdempotencyKey`].
    async fn recorded_answer(&self, merchant: MerchantId, key: &str) -> Result<Option<String>>;

    /// Waiting rooms that are not off, in the order of their merchants' ids, at most [`ROOMS_MAX`].
    async fn waiting_rooms(&self) -> Result<Vec<WaitingRoom>>;

    /// The room of a merchant; `None` when it never had one.
    async fn waiting_room(&self, merchant: MerchantId) -> Result<Option<WaitingRoom>>;

    /// Sets a merchant's sale mode. A room that was off, or that there was not, begins with `key` and without places:
    /// those that were taken in it are void. False when there is no such merchant.
    async fn set_sale_mode(
        &self,
        merchant: MerchantId,
        mode: SaleMode,
        key: [u8; 32],
        at: Timestamp,
    ) -> Result<bool>;

    /// Takes `count` places, 1 to [`PLACES_MAX`]: the number of the first one. `None` when the merchant has no room, or
    /// it is off.
    async fn take_places(&self, merchant: MerchantId, count: u32) -> Result<Option<u64>>;

    /// Records a step of the room. False when the room was changed since `version` was read; nothing is written then.
    async fn step_room(
        &self,
        merchant: MerchantId,
        version: i64,
        progress: RoomProgress,
        at: Timestamp,
    ) -> Result<bool>;
}
