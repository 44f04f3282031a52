//! Rule of a waiting room: whether shoppers go through it, how many of them it admits in a step, and who is admitted.
//!
//! Guarantees: pure functions of the room, the backlog and the present time. Shoppers are admitted in the order of
//! their ranks, each for the same time from the step that admitted them, at most `active_max` at a time and
//! `per_minute_max` per minute. A room that is forced by load stays until all who wait are admitted.
//!
//! The rate follows the drain of orders: as much as is drained while orders wait for longer than usual, twice as much
//! while they do not, so that the drain that is measured may grow with the sale, and nothing while new orders are
//! refused.

use std::time::Duration;

use base::{
    Timestamp,
    time::{between, earlier, later},
};
use store::admission::{RoomOrder, RoomProgress, SaleSwitch, WaitingRoom};

use super::lot;
use crate::{admission::rule::Backlog, config::AdmissionLimits};

/// Time for which admissions are made up that no step has made.
const BURST: Duration = Duration::from_secs(10);
/// Wait of orders that counts as none.
const CALM: Duration = Duration::from_secs(10);
/// Parts of the time of an admitted shopper to which the time of an admission is kept.
const PARTS: u32 = 60;
/// Longest time that is told for an admission.
const WAIT_MAX: Duration = Duration::from_hours(24);

/// What the rooms share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoomLoad {
    /// `None` while it is not known.
    pub(crate) backlog: Option<Backlog>,
    pub(crate) limits: AdmissionLimits,
    /// Rooms that shoppers go through now, which share the drain; at least 1.
    pub(crate) rooms: u32,
}

/// How a shopper stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// So many are before this shopper.
    Waiting {
        ahead: u64,
    },
    Admitted {
        until: Timestamp,
    },
    /// The time to order is over.
    Expired,
}

/// A step of a room, and the time to record as its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) progress: RoomProgress,
    pub(crate) at: Timestamp,
}

/// Whether shoppers of the room's merchant have to be admitted before they order.
pub(crate) fn is_required(room: &WaitingRoom, now: Timestamp) -> bool {
    match room.mode.switch {
        SaleSwitch::Off => false,
        SaleSwitch::On => {
            room.mode.begins_at.is_none_or(|at| at <= now) && room.mode.ends_at.is_none_or(|at| now < at)
        }
        SaleSwitch::ByLoad => room.progress.is_forced,
    }
}

/// How the shopper with this place stands.
pub(crate) fn standing(room: &WaitingRoom, place: u64, now: Timestamp) -> Standing {
    let progress = &room.progress;
    let rank = lot::rank(&room.key, place, progress.drawn);
    if rank >= progress.admitted {
        return Standing::Waiting { ahead: rank - progress.admitted };
    }
    let admitted = progress.history.iter().find(|(_, admitted)| rank < *admitted);
    let admitted_at = admitted.and_then(|(at, _)| Timestamp::from_millisecond(*at).ok());
    let until = admitted_at.map_or(Timestamp::UNIX_EPOCH, |at| later(at, room.mode.active_for()));
    if now < until { Standing::Admitted { until } } else { Standing::Expired }
}

/// The next step of a room; `None` when nothing changes.
pub(crate) fn step(room: &WaitingRoom, load: &RoomLoad, now: Timestamp) -> Option<Step> {
    let mut next = room.clone();
    next.progress.is_forced = is_forced(room, load, now);
    if !next.progress.is_open && room.mode.opens_at.is_none_or(|opens_at| opens_at <= now) {
        next.progress.is_open = true;
        if room.mode.order == RoomOrder::Random {
            next.progress.drawn = room.taken;
        }
    }
    let at = admit(&mut next, load, now);
    (next.progress != room.progress).then_some(Step { progress: next.progress, at })
}

/// A room by load begins at one age of the oldest work, and ends at half of it, once no shopper waits.
fn is_forced(room: &WaitingRoom, load: &RoomLoad, now: Timestamp) -> bool {
    let was = room.progress.is_forced;
    let Some(backlog) = load.backlog.filter(|_| room.mode.switch == SaleSwitch::ByLoad) else { return was };
    let (age, limit) = (backlog.age(now), load.limits.room_age);
    if was { age >= limit / 2 || room.progress.admitted < room.taken } else { age >= limit }
}

/// Admits as many as the time since the last step allows; returns the time up to which that is used.
fn admit(room: &mut WaitingRoom, load: &RoomLoad, now: Timestamp) -> Timestamp {
    let per_second = per_second(room, load, now);
    if !room.progress.is_open || !is_required(room, now) || per_second <= 0.0 {
        return room.stepped_at;
    }
    let one = seconds(1.0 / per_second);
    let begun = room.stepped_at.max(earlier(now, BURST.max(one)));
    let due = whole(between(begun, now).as_secs_f64() * per_second);
    let waiting = room.taken.saturating_sub(room.progress.admitted);
    let free = u64::from(room.mode.active_max).saturating_sub(active(room, now));
    let count = due.min(waiting).min(free);
    if count == 0 {
        return room.stepped_at;
    }
    room.progress.admitted += count;
    note(room, now);
    later(begun, seconds(real(count) / per_second)).min(now)
}

/// Shoppers admitted per second.
fn per_second(room: &WaitingRoom, load: &RoomLoad, now: Timestamp) -> f64 {
    let most = f64::from(room.mode.per_minute_max) / 60.0;
    let Some(backlog) = load.backlog else { return most };
    let age = backlog.age(now);
    if load.limits.order_age_max.is_some_and(|age_max| age > age_max) {
        return 0.0;
    }
    let Some(drain) = backlog.drain else { return most };
    let times = if age > drain.usual.max(CALM) { 1.0 } else { 2.0 };
    most.min(drain.per_second * times / f64::from(load.rooms.max(1)))
}

/// Time of the admission of a shopper with so many before; `None` while the room does not admit.
pub(crate) fn estimate(room: &WaitingRoom, ahead: u64, load: &RoomLoad, now: Timestamp) -> Option<Timestamp> {
    let per_second = per_second(room, load, now);
    let begin = room.mode.opens_at.map_or(now, |opens_at| opens_at.max(now));
    // Each shopper leaves room for another one after the time to order.
    let by_active = f64::from(room.mode.active_max) / f64::from(room.mode.active_seconds.max(1));
    let free = u64::from(room.mode.active_max).saturating_sub(active(room, now));
    let wait = if ahead < free { per_second } else { per_second.min(by_active) };
    (per_second > 0.0).then(|| later(begin, seconds(real(ahead + 1) / wait).min(WAIT_MAX)))
}

/// Shoppers who may order now.
fn active(room: &WaitingRoom, now: Timestamp) -> u64 {
    let oldest = earlier(now, room.mode.active_for()).as_millisecond();
    let over = room.progress.history.iter().take_while(|(at, _)| *at <= oldest).last();
    room.progress.admitted - over.map_or(0, |(_, admitted)| *admitted).min(room.progress.admitted)
}

/// Notes how many are admitted now. Times closer than a part of the time to order become one, the later; older ones
/// than are asked for are forgotten.
fn note(room: &mut WaitingRoom, now: Timestamp) {
    let part = i64::try_from((room.mode.active_for() / PARTS).as_millis()).unwrap_or(i64::MAX);
    let oldest = earlier(now, room.mode.active_for()).as_millisecond();
    let (at, admitted) = (now.as_millisecond(), room.progress.admitted);
    let history = &mut room.progress.history;
    if let [.., (before, _), last] = &mut history[..]
        && at.saturating_sub(*before) < part
    {
        *last = (at, admitted);
    } else {
        history.push((at, admitted));
    }
    let over = history.iter().take_while(|(at, _)| *at <= oldest).count();
    history.drain(..over.saturating_sub(1));
}

fn real(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The whole part of a count that is not negative.
fn whole(count: f64) -> u64 {
    // A hair more, so that ten steps of a tenth are one.
    Duration::try_from_secs_f64(count + 1e-6).map_or(u64::from(u32::MAX), |count| count.as_secs())
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(WAIT_MAX)
}

#[cfg(test)]
mod tests;
