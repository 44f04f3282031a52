//! Share of declined payments per merchant, and its alarm.
//!
//! Counts what this process follows, in two spans of time: the present one and the one before. Memory is bounded by
//! [`MERCHANTS_MAX`].

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{
    Timestamp,
    time::{between, later},
};
use store::{
    domain::MerchantId,
    merchants::{CARD_TESTING_TOLD_EVERY, CardTestingFacts},
};

use crate::config::CardTestingLimits;

/// Half of the time that is looked at.
const SPAN: Duration = Duration::from_mins(10);
/// Merchants counted at a time; of more, those without payments in two spans are forgotten.
const MERCHANTS_MAX: usize = 10_000;

pub(super) struct Ratios {
    config: CardTestingLimits,
    merchants: Mutex<HashMap<MerchantId, Ratio>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Outcomes {
    payments: u64,
    declined: u64,
}

#[derive(Debug, Clone, Copy)]
struct Ratio {
    /// Begin of the present span.
    began: Timestamp,
    present: Outcomes,
    before: Outcomes,
    alarm_until: Option<Timestamp>,
    told_at: Option<Timestamp>,
}

impl Ratios {
    pub(super) fn new(config: CardTestingLimits) -> Self {
        Self { config, merchants: Mutex::default() }
    }

    /// Counts the end of a payment. Returns the figures when the merchant is to be told of them: the share is too high,
    /// and the merchant was not told within an hour.
    pub(super) fn note(
        &self,
        merchant: MerchantId,
        is_declined: bool,
        now: Timestamp,
    ) -> Option<CardTestingFacts> {
        let mut merchants = self.merchants();
        if merchants.len() >= MERCHANTS_MAX && !merchants.contains_key(&merchant) {
            merchants.retain(|_, ratio| between(ratio.began, now) < 2 * SPAN || ratio.is_alarmed(now));
            if merchants.len() >= MERCHANTS_MAX {
                return None;
            }
        }
        let ratio = merchants.entry(merchant).or_insert_with(|| Ratio::begin(now));
        ratio.move_to(now);
        ratio.present.payments += 1;
        ratio.present.declined += u64::from(is_declined);
        let facts = ratio.facts();
        let is_high = facts.payments >= u64::from(self.config.alarm_payments.get())
            && facts.declined * 100 >= u64::from(self.config.alarm_percent.get()) * facts.payments;
        if !is_high || !is_declined {
            return None;
        }
        ratio.alarm_until = Some(later(now, self.config.alarm_for));
        if ratio.told_at.is_some_and(|told| between(told, now) < CARD_TESTING_TOLD_EVERY) {
            return None;
        }
        ratio.told_at = Some(now);
        Some(facts)
    }

    /// The merchant could not be told.
    pub(super) fn not_told(&self, merchant: MerchantId) {
        if let Some(ratio) = self.merchants().get_mut(&merchant) {
            ratio.told_at = None;
        }
    }

    /// End of the merchant's alarm, if there is one.
    pub(super) fn alarm_until(&self, merchant: MerchantId, now: Timestamp) -> Option<Timestamp> {
        self.merchants().get(&merchant)?.alarm_until.filter(|until| *until > now)
    }

    /// Merchants with an alarm.
    pub(super) fn alarms(&self, now: Timestamp) -> u64 {
        let alarmed = self.merchants().values().filter(|ratio| ratio.is_alarmed(now)).count();
        u64::try_from(alarmed).unwrap_or(u64::MAX)
    }

    fn merchants(&self) -> MutexGuard<'_, HashMap<MerchantId, Ratio>> {
        // No change of a ratio can panic half way.
        self.merchants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ratio {
    fn begin(now: Timestamp) -> Self {
        let (present, before) = (Outcomes::default(), Outcomes::default());
        Self { began: now, present, before, alarm_until: None, told_at: None }
    }

    fn move_to(&mut self, now: Timestamp) {
        let age = between(self.began, now);
        if age >= SPAN {
            self.before = if age < 2 * SPAN { self.present } else { Outcomes::default() };
            self.present = Outcomes::default();
            self.began = now;
        }
    }

    fn is_alarmed(&self, now: Timestamp) -> bool {
        self.alarm_until.is_some_and(|until| until > now)
    }

    fn facts(&self) -> CardTestingFacts {
        let (present, before) = (self.present, self.before);
        let since = if before.payments > 0 { base::time::earlier(self.began, SPAN) } else { self.began };
        CardTestingFacts {
            since,
            payments: present.payments + before.payments,
            declined: present.declined + before.declined,
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Ambient;

    use super::*;

    #[test]
    fn an_alarm_needs_enough_payments_and_ends() {
        let (ambient, clock) = Ambient::steered(1, Ambient::system().now());
        let ratios = Ratios::new(CardTestingLimits::default());
        let (merchant, other) = (MerchantId::fresh(&ambient), MerchantId::fresh(&ambient));
        let note = |is_declined| ratios.note(merchant, is_declined, ambient.now());
        for _ in 0..10 {
            assert_eq!(note(false), None);
        }
        for _ in 0..9 {
            assert_eq!(note(true), None);
        }
        let facts = note(true).expect("10 of 20");
        assert_eq!((facts.payments, facts.declined), (20, 10));
        assert_eq!(note(true), None, "told once");
        assert!(ratios.alarm_until(merchant, ambient.now()).is_some());
        assert_eq!((ratios.alarm_until(other, ambient.now()), ratios.alarms(ambient.now())), (None, 1));
        clock.advance(CardTestingLimits::default().alarm_for);
        assert_eq!(ratios.alarms(ambient.now()), 0);
        assert_eq!(note(true), None, "the payments of then no longer count");
        ratios.not_told(merchant);
        assert!((0..19).any(|_| note(true).is_some()));
    }

    #[test]
    fn the_span_before_counts() {
        let (ambient, clock) = Ambient::steered(1, Ambient::system().now());
        let ratios = Ratios::new(CardTestingLimits::default());
        let merchant = MerchantId::fresh(&ambient);
        let note = |is_declined| ratios.note(merchant, is_declined, ambient.now());
        assert!((0..15).all(|_| note(true).is_none()));
        clock.advance(SPAN);
        assert!((0..4).all(|_| note(true).is_none()));
        assert_eq!(note(true).map(|facts| facts.payments), Some(20));
    }
}
