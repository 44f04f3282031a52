//! Rule of admission by backlog: the drain of orders, the time an order will take, and when new orders are refused.
//!
//! Guarantees: pure functions of one measurement and the present time. The drain is told low rather than high: it is
//! the best rate up to now over some recent time, and at least one order after the other. An estimate grows with the
//! orders ahead, with the age of the oldest work and with the time orders take. A refusal ends within
//! [`RETRY_MAX`], and is repeated then if the backlog is still there.
//!
//! Knows one line of orders for the whole installation. Where starts are shared fairly among merchants, the orders of a
//! merchant with few of them go sooner than told.

use std::time::Duration;

use base::{
    Timestamp,
    ids::timestamp_of,
    time::{between, earlier, later},
};
use store::{
    admission::{LoadSpan, OrderLoad},
    domain::OrderId,
};

use crate::config::AdmissionLimits;

/// Ended orders without which nothing is measured.
pub(crate) const MEASURED_MIN: usize = 5;
/// Time that a measurement looks back.
pub(crate) const MEASURED_FOR: Duration = Duration::from_mins(10);
/// Fulfilled orders by whose times the usual time is told.
const TIMES_MAX: usize = 100;
/// Least span of a rate: workers commit in groups, which a shorter one would take for speed.
const SPAN_MIN: Duration = Duration::from_secs(5);
/// A pending order is stuck when orders that were placed so much later have ended.
const STUCK_AFTER: Duration = Duration::from_hours(1);
/// Age from which on a measurement counts no more: the store did not answer since.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// Part of an estimate that is added to it, and the least addition.
const MARGIN: f64 = 0.25;
const MARGIN_MIN: Duration = Duration::from_secs(2);
/// Longest estimate: beyond, its error is larger than its worth.
const ESTIMATE_MAX: Duration = Duration::from_hours(7 * 24);
/// Bounds of `Retry-After`, and its value while no drain is known.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_mins(5);
const RETRY_UNKNOWN: Duration = Duration::from_secs(30);

/// Interval at which an order is accepted although new ones are refused.
pub(crate) const PROBE_EVERY: Duration = Duration::from_mins(1);

/// The speed at which the installation works off orders.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drain {
    /// Orders per second, above 0.
    pub(crate) per_second: f64,
    /// Time within which 95 of 100 orders of late were fulfilled.
    pub(crate) usual: Duration,
}

/// One measurement of the backlog.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Backlog {
    pub(crate) at: Timestamp,
    pub(crate) open: u64,
    /// When the oldest work began to wait: an order's payment, or a message in the outbox.
    pub(crate) waiting_since: Option<Timestamp>,
    /// `None` while too few orders have ended lately.
    pub(crate) drain: Option<Drain>,
}

/// What the next measurement asks for. `latest_ended`: when the latest of the orders was placed that were ever seen to
/// have ended.
pub(crate) fn span(now: Timestamp, latest_ended: Option<Timestamp>) -> LoadSpan {
    let placed_after = latest_ended.map_or(Timestamp::UNIX_EPOCH, |placed| earlier(placed, STUCK_AFTER));
    LoadSpan { ended_after: earlier(now, MEASURED_FOR), placed_after }
}

/// When the latest of the orders that ended was placed.
pub(crate) fn latest_ended(load: &OrderLoad) -> Option<Timestamp> {
    load.ended.iter().filter_map(|ended| placed_at(ended.order)).max()
}

fn placed_at(order: OrderId) -> Option<Timestamp> {
    timestamp_of(order.0)
}

/// The drain by the orders that ended, the latest first.
fn drain(load: &OrderLoad, now: Timestamp) -> Option<Drain> {
    if load.ended.len() < MEASURED_MIN {
        return None;
    }
    let fulfilled = load.ended.iter().filter(|ended| ended.is_fulfilled).take(TIMES_MAX);
    let times = fulfilled.filter_map(|ended| Some(between(placed_at(ended.order)?, ended.at)));
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let (median, usual) = (share_of(&times, 50)?, share_of(&times, 95)?);
    let one_by_one = 1.0 / median.as_secs_f64().max(0.001);
    let rates = load.ended.iter().enumerate().skip(MEASURED_MIN - 1).map(|(before, ended)| {
        let number = u32::try_from(before + 1).unwrap_or(u32::MAX);
        f64::from(number) / between(ended.at, now).max(SPAN_MIN).as_secs_f64()
    });
    Some(Drain { per_second: rates.fold(one_by_one, f64::max), usual })
}

/// The value that so many of 100 do not exceed.
fn share_of(sorted: &[Duration], percent: usize) -> Option<Duration> {
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
}

/// Whether an order that would be refused is accepted as a probe: one in [`PROBE_EVERY`], from the first refusal on.
/// `probed_at`: the last probe, or the first refusal.
pub(crate) fn is_probe(probed_at: &mut Option<Timestamp>, now: Timestamp) -> bool {
    let is_due = between(*probed_at.get_or_insert(now), now) >= PROBE_EVERY;
    if is_due {
        *probed_at = Some(now);
    }
    is_due
}

impl Backlog {
    pub(crate) fn of(load: &OrderLoad, at: Timestamp) -> Self {
        let waiting_since = load.unpaid_since.into_iter().chain(load.unsent_since).min();
        Self { at, open: load.open, waiting_since, drain: drain(load, at) }
    }

    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        between(self.at, now) <= FRESH_FOR
    }

    /// Age of the oldest work that waits; zero where none does.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        self.waiting_since.map_or(Duration::ZERO, |since| between(since, now))
    }

    /// Time by which an order is fulfilled that is placed now behind `more` orders that were placed since the
    /// measurement; `None` while nothing is measured.
    pub(crate) fn estimate(&self, more: u64, now: Timestamp) -> Option<Timestamp> {
        let drain = self.drain.filter(|_| self.is_fresh(now))?;
        let queue = seconds(real(self.open.saturating_add(more)) / drain.per_second);
        // What waits for longer than the queue explains is held up: this order will be, too.
        let wait = queue.max(self.age(now)).saturating_add(drain.usual).min(ESTIMATE_MAX);
        let margin = wait.mul_f64(MARGIN).max(MARGIN_MIN);
        Some(later(now, wait.saturating_add(margin)))
    }

    /// The wait before a new order is worth another try; `None` when it is accepted now. `cart_made_at`: when the cart
    /// was made that is ordered.
    ///
    /// Orders from a cart go first that was made before new orders were refused.
    pub(crate) fn refusal(
        &self,
        limits: &AdmissionLimits,
        cart_made_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Duration> {
        let (since, orders_max) = (self.waiting_since?, limits.order_age_max?);
        if !self.is_fresh(now) {
            return None;
        }
        let goes_first = cart_made_at.is_some_and(|made_at| made_at < later(since, orders_max));
        let age_max = if goes_first { limits.cart_age_max? } else { orders_max };
        let age = between(since, now);
        (age > age_max).then(|| self.retry_after(age, age_max))
    }

    /// Time until the work is drained that waits for longer than the limit, if orders came evenly.
    fn retry_after(&self, age: Duration, age_max: Duration) -> Duration {
        let Some(drain) = self.drain else { return RETRY_UNKNOWN };
        let share = 1.0 - age_max.as_secs_f64() / age.as_secs_f64().max(0.001);
        let wait = seconds(real(self.open) * share.clamp(0.0, 1.0) / drain.per_second);
        wait.clamp(RETRY_MIN, RETRY_MAX)
    }
}

/// A count of orders, which are fewer than a real number tells exactly.
fn real(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A time that may be too long to tell.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(ESTIMATE_MAX)
}

#[cfg(test)]
mod tests;
