//! Conformance suite of [`PaymentStore`]. Its cases use distinct ids, so an engine whose empty store is expensive may
//! open the same store for all of them.

pub mod attempts;
pub mod charges;
pub mod decisions;
pub mod listing;
pub mod random_ops;
pub mod refunds;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use store::{
    domain::{Decision, MerchantId, OrderId, Payment, PaymentId},
    payments::{Begun, Decided, NewPayment, PaymentStore},
};

use super::Clockwork;

/// Expands to the tests of a payment store; see [`crate`].
#[macro_export]
macro_rules! payment_store_suite {
    ($open:path) => {
        $crate::conformance_cases! { $open, payments,
            attempts: [
                opening_again_changes_nothing,
                opening_at_once_stores_one,
                epochs_start_at_one_and_rise,
                epochs_rise_under_concurrent_begins,
                payments_do_not_share_epochs,
                a_note_stays_with_its_attempt,
                unknown_payments_are_not_found,
            ],
            charges: [
                only_the_newest_attempt_records_a_charge,
                the_first_charge_stands,
                racing_attempts_agree_on_one_charge,
            ],
            decisions: [
                a_decision_is_recorded_once,
                a_stale_epoch_cannot_decide,
                an_epoch_never_given_out_cannot_decide,
                racing_deciders_agree,
                racing_attempts_and_deciders_agree,
                a_decided_payment_begins_no_attempt,
                a_reference_leads_to_its_payment,
            ],
            listing: [
                a_day_is_a_utc_day,
                a_day_is_paged_without_gaps,
                a_day_is_of_one_merchant,
                all_payments_are_scanned,
                many_payments_are_read_at_once,
            ],
            refunds: [
                a_refund_needs_captured_money,
                refunds_fill_what_was_captured,
                a_failed_refund_frees_its_amount,
                an_end_is_recorded_once,
                amounts_without_value_are_refused,
                concurrent_refunds_never_exceed_the_capture,
                the_same_refund_at_once_is_one,
                racing_ends_agree,
            ],
            random_ops: [
                random_steps_keep_the_money_right,
            ],
        }
    };
}

/// Fixture of one case: a store with a clock and an id source.
#[derive(Clone)]
pub(super) struct PaymentsFixture {
    pub(super) store: Arc<dyn PaymentStore>,
    pub(super) time: Clockwork,
    pub(super) merchant: MerchantId,
}

impl PaymentsFixture {
    /// Uses ids that no other case of the run uses, so that cases may share a store.
    pub(super) fn new(store: Arc<dyn PaymentStore>) -> Self {
        static SEED: AtomicU64 = AtomicU64::new(1_000);
        Self::seeded(store, SEED.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn seeded(store: Arc<dyn PaymentStore>, seed: u64) -> Self {
        let time = Clockwork::new(seed);
        let merchant = MerchantId::fresh(&time.ambient);
        Self { store, time, merchant }
    }

    pub(super) fn new_payment(&self, amount_minor: i64) -> NewPayment {
        let at = self.time.tick();
        let order = OrderId::fresh(&self.time.ambient);
        NewPayment {
            id: PaymentId::of_order(order),
            order,
            merchant: self.merchant,
            amount_minor,
            currency: "EUR".parse().expect("a currency"),
            method: "pm_card_visa".to_owned(),
            provider: "sandbox".to_owned(),
            at,
        }
    }

    pub(super) async fn opened(&self, amount_minor: i64) -> Payment {
        self.store.open_payment(self.new_payment(amount_minor)).await.expect("opens")
    }

    pub(super) async fn begun(&self, id: PaymentId) -> u64 {
        match self.store.begin_attempt(id, "worker-1", self.time.tick()).await.expect("begins") {
            Begun::Attempt { epoch } => epoch,
            other => panic!("{id} began no attempt: {other:?}"),
        }
    }

    pub(super) async fn captured(&self, amount_minor: i64) -> Payment {
        let payment = self.opened(amount_minor).await;
        let epoch = self.begun(payment.id).await;
        let decided = self.decide(payment.id, epoch, capture(&format!("ch_{}", payment.id))).await;
        assert_eq!(decided, Decided::Recorded);
        self.read(payment.id).await
    }

    pub(super) async fn decide(&self, id: PaymentId, epoch: u64, decision: Decision) -> Decided {
        self.store.record_decision(id, epoch, decision, self.time.tick()).await.expect("decides")
    }

    pub(super) async fn read(&self, id: PaymentId) -> Payment {
        self.store.payment(id).await.expect("reads").expect("is stored")
    }
}

pub(super) fn capture(reference: &str) -> Decision {
    Decision::Captured { provider_reference: reference.to_owned() }
}

pub(super) fn decline(code: &str) -> Decision {
    Decision::Declined { code: code.to_owned() }
}
