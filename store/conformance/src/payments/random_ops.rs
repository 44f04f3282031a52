//! Seeded random operations on one payment, compared with a small model.

use std::{collections::BTreeMap, sync::Arc};

use store::{
    domain::{Decision, PaymentId, RefundId, RefundState},
    payments::{Begun, ChargeRecorded, Decided, PaymentStore, RefundBegun},
};

use super::{PaymentsFixture, capture, decline, refunds};

const STEPS: u32 = 150;
const AMOUNT: i64 = 1000;

/// Expected state of the payment.
#[derive(Default)]
struct Model {
    epoch: u64,
    charge: Option<String>,
    decision: Option<Decision>,
    refunds: BTreeMap<RefundId, (i64, RefundState)>,
}

pub async fn random_steps_keep_the_money_right(store: Arc<dyn PaymentStore>) {
    for seed in 100..108 {
        let world = PaymentsFixture::seeded(Arc::clone(&store), seed);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut model = Model::default();
        let id = world.opened(AMOUNT).await.id;
        for step in 0..STEPS {
            let context = format!("seed {seed}, step {step}");
            model.step(&world, id, &mut rng, &context).await;
            model.compare(&world, id, &context).await;
        }
    }
}

impl Model {
    async fn step(&mut self, world: &PaymentsFixture, id: PaymentId, rng: &mut fastrand::Rng, context: &str) {
        match rng.u32(0..100) {
            0..12 => self.begin_attempt(world, id, context).await,
            // Rare, so that several attempts begin before a decision.
            12..15 => self.record_charge(world, id, rng, context).await,
            15..20 => self.decide(world, id, rng, context).await,
            20..65 => self.begin_refund(world, id, rng, context).await,
            _ => self.end_refund(world, id, rng, context).await,
        }
    }

    async fn begin_attempt(&mut self, world: &PaymentsFixture, id: PaymentId, context: &str) {
        let begun = world.store.begin_attempt(id, "w", world.time.tick()).await.expect("answers");
        if let Some(decision) = &self.decision {
            assert_eq!(begun, Begun::Decided(decision.clone()), "{context}");
        } else {
            self.epoch += 1;
            assert_eq!(begun, Begun::Attempt { epoch: self.epoch }, "{context}");
        }
    }

    async fn record_charge(
        &mut self,
        world: &PaymentsFixture,
        id: PaymentId,
        rng: &mut fastrand::Rng,
        context: &str,
    ) {
        let epoch = rng.u64(self.epoch.saturating_sub(1)..=self.epoch + 1);
        let reference = format!("pi_{}", rng.u8(..));
        let expected = match &self.decision {
            Some(decided) => ChargeRecorded::Decided(decided.clone()),
            None if epoch == self.epoch && epoch > 0 => {
                ChargeRecorded::Charge(self.charge.get_or_insert(reference.clone()).clone())
            }
            None => ChargeRecorded::Stale { current_epoch: self.epoch },
        };
        let at = world.time.tick();
        let answer = world.store.record_charge(id, epoch, &reference, at).await.expect("answers");
        assert_eq!(answer, expected, "{context}");
    }

    async fn decide(
        &mut self,
        world: &PaymentsFixture,
        id: PaymentId,
        rng: &mut fastrand::Rng,
        context: &str,
    ) {
        let epoch = rng.u64(self.epoch.saturating_sub(1)..=self.epoch + 1);
        let decision =
            if rng.u8(0..10) == 0 { decline("card_declined") } else { capture(&format!("ch_{id}")) };
        let expected = match &self.decision {
            Some(decided) => Decided::Already(decided.clone()),
            None if epoch == self.epoch && epoch > 0 => Decided::Recorded,
            None => Decided::Stale { current_epoch: self.epoch },
        };
        assert_eq!(world.decide(id, epoch, decision.clone()).await, expected, "{context}");
        if expected == Decided::Recorded {
            self.decision = Some(decision);
        }
    }

    async fn begin_refund(
        &mut self,
        world: &PaymentsFixture,
        id: PaymentId,
        rng: &mut fastrand::Rng,
        context: &str,
    ) {
        let refund = self.pick(rng).unwrap_or_else(|| refunds::fresh(world));
        let amount = rng.i64(-10..AMOUNT / 3);
        let left = self.refundable_minor();
        let expected = match (self.refunds.get(&refund), &self.decision) {
            (Some((_, RefundState::Open)), _) => RefundBegun::Open,
            (Some((_, ended)), _) => RefundBegun::Ended(*ended),
            (None, Some(Decision::Captured { .. })) if amount > 0 && amount <= left => RefundBegun::Open,
            (None, Some(Decision::Captured { .. })) => RefundBegun::TooMuch { refundable_minor: left },
            (None, _) => RefundBegun::NotCaptured,
        };
        assert_eq!(refunds::begin(world, id, refund, amount).await, expected, "{context}");
        if expected == RefundBegun::Open {
            self.refunds.entry(refund).or_insert((amount, RefundState::Open));
        }
    }

    async fn end_refund(
        &mut self,
        world: &PaymentsFixture,
        id: PaymentId,
        rng: &mut fastrand::Rng,
        context: &str,
    ) {
        let refund = self.pick(rng).unwrap_or_else(|| refunds::fresh(world));
        // Mostly failed refunds, so that the captured amount stays refundable for long.
        let done = rng.u8(0..6) == 0;
        let end = if done { RefundState::Done } else { RefundState::Failed };
        let expected = self.refunds.get_mut(&refund).map(|(_, state)| {
            if *state == RefundState::Open {
                *state = end;
            }
            *state
        });
        assert_eq!(refunds::end(world, id, refund, done).await, expected, "{context}");
    }

    /// A known refund, two times in three.
    fn pick(&self, rng: &mut fastrand::Rng) -> Option<RefundId> {
        if self.refunds.is_empty() || rng.u8(0..3) == 0 {
            return None;
        }
        self.refunds.keys().nth(rng.usize(0..self.refunds.len())).copied()
    }

    fn refundable_minor(&self) -> i64 {
        let live = self.refunds.values().filter(|(_, state)| *state != RefundState::Failed);
        AMOUNT - live.map(|(amount, _)| amount).sum::<i64>()
    }

    async fn compare(&self, world: &PaymentsFixture, id: PaymentId, context: &str) {
        let read = world.read(id).await;
        let expected = (self.epoch, &self.charge, &self.decision);
        assert_eq!((read.epoch, &read.charge, &read.decision), expected, "{context}");
        let stored: BTreeMap<_, _> = read.refunds.iter().map(|r| (r.id, (r.amount_minor, r.state))).collect();
        assert_eq!(stored, self.refunds, "{context}");
        assert!(read.refunds.is_sorted_by_key(|refund| refund.begun_at), "{context}");
        assert!((0..=AMOUNT).contains(&read.refunded_minor()), "{context}");
    }
}
