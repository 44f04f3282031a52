//! Orders of this process whose payments have not ended, in the order of their next look.
//!
//! Bounded by [`WATCHED_MAX`] and [`WATCH_FOR`]: an order that is not followed any more stays unpaid for the counters
//! until its time is over. Each is looked at more seldom the older it is.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{
    Timestamp,
    time::{between, later},
};
use store::domain::{MerchantId, OrderId};

use super::subjects::Subjects;

/// Interval of looks at the payments that are due.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Orders followed at a time, some 130 bytes each.
const WATCHED_MAX: usize = 65_536;
/// Longest time for which an order is followed.
const WATCH_FOR: Duration = Duration::from_hours(1);
/// Longest time between two looks at an order.
const PAUSE_MAX: Duration = Duration::from_mins(1);

#[derive(Default)]
pub(super) struct Watched(Mutex<BTreeMap<(Timestamp, OrderId), Payment>>);

/// The payment of an order that was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payment {
    pub(super) merchant: MerchantId,
    /// `None` with a secret key.
    pub(super) subjects: Option<Subjects>,
    pub(super) placed_at: Timestamp,
}

impl Watched {
    pub(super) fn add(&self, order: OrderId, payment: Payment, now: Timestamp) {
        let mut watched = self.watched();
        if watched.len() < WATCHED_MAX {
            watched.insert((later(now, LOOK_EVERY), order), payment);
        }
    }

    /// Takes the first payments that are due out.
    pub(super) fn due(&self, now: Timestamp, limit: usize) -> Vec<(OrderId, Payment)> {
        let mut watched = self.watched();
        let mut due = Vec::new();
        while due.len() < limit
            && let Some(first) = watched.first_entry().filter(|first| first.key().0 <= now)
        {
            let ((_, order), payment) = first.remove_entry();
            due.push((order, payment));
        }
        due
    }

    /// Puts a payment that has not ended back, unless it is too old.
    pub(super) fn again(&self, order: OrderId, payment: Payment, now: Timestamp) {
        let age = between(payment.placed_at, now);
        if age < WATCH_FOR {
            let pause = (age / 2).clamp(LOOK_EVERY, PAUSE_MAX);
            self.watched().insert((later(now, pause), order), payment);
        }
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<(Timestamp, OrderId), Payment>> {
        // Each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use base::Ambient;

    use super::*;

    #[test]
    fn an_old_payment_is_looked_at_seldom_and_at_last_not_at_all() {
        let (ambient, clock) = Ambient::steered(1, Ambient::system().now());
        let (watched, order) = (Watched::default(), OrderId::fresh(&ambient));
        let merchant = MerchantId::fresh(&ambient);
        let payment = Payment { merchant, subjects: None, placed_at: ambient.now() };
        watched.add(order, payment, ambient.now());
        assert!(watched.due(ambient.now(), 10).is_empty());
        let (mut looks, mut seconds) = (0, 0);
        while seconds < 2 * WATCH_FOR.as_secs() {
            clock.advance(Duration::from_secs(1));
            seconds += 1;
            for (order, payment) in watched.due(ambient.now(), 10) {
                looks += 1;
                watched.again(order, payment, ambient.now());
            }
        }
        assert!((60..90).contains(&looks), "{looks}");
        assert!(watched.watched().is_empty());
    }

    #[test]
    fn no_more_are_followed_than_the_bound() {
        let (ambient, _clock) = Ambient::steered(1, Ambient::system().now());
        let (watched, now) = (Watched::default(), ambient.now());
        let merchant = MerchantId::fresh(&ambient);
        for _ in 0..=WATCHED_MAX {
            watched.add(OrderId::fresh(&ambient), Payment { merchant, subjects: None, placed_at: now }, now);
        }
        assert_eq!(watched.watched().len(), WATCHED_MAX);
        assert_eq!(watched.due(later(now, LOOK_EVERY), 500).len(), 500);
    }
}
