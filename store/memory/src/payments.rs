//! [`PaymentStore`] in memory, with the conditions of lightweight transactions.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use base::Timestamp;
use store::{
    domain::{Decision, MerchantId, Payment, PaymentAttempt, PaymentId, Refund, RefundId, RefundState},
    error::StoreError,
    payments::{
        Begun, ChargeRecorded, Decided, NewPayment, PaymentEntry, PaymentStore, RefundBegun, rejection,
    },
};

use super::{
    Direct, Link, Observer,
    linked::{Linked, Timing},
    some,
};

const STORE: &str = "payment";

/// Payments in memory; clones share them.
#[derive(Clone)]
pub struct MemoryPayments(Linked<PaymentsState>);

struct PaymentsState {
    rows: BTreeMap<PaymentId, Row>,
    observer: Arc<dyn Observer>,
    /// Whether only the newest attempt decides.
    fenced: bool,
}

struct Row {
    payment: Payment,
    attempts: Vec<PaymentAttempt>,
}

impl MemoryPayments {
    /// An empty store.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        let state = PaymentsState { rows: BTreeMap::new(), observer, fenced: true };
        Self(Linked::new(STORE, state, Arc::new(Direct)))
    }

    /// With a defect that a simulation must find: each attempt decides, whatever its epoch is.
    #[must_use]
    pub fn unfenced(self) -> Self {
        self.0.touch(|state| state.fenced = false);
        self
    }

    /// The same payments over another link.
    #[must_use]
    pub fn through(&self, link: Arc<dyn Link>) -> Self {
        Self(self.0.through(link))
    }

    /// A stored payment, read without a call.
    pub fn peek(&self, id: PaymentId) -> Option<Payment> {
        self.0.look(|state| state.payment(id).cloned())
    }
}

impl PaymentsState {
    fn payment(&self, id: PaymentId) -> Option<&Payment> {
        self.rows.get(&id).map(|row| &row.payment)
    }

    fn change(&mut self, id: PaymentId, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.rows.get_mut(&id) {
            let before = row.payment.clone();
            change(row);
            self.observer.payment(Some(&before), &row.payment);
        }
    }

    fn open(&mut self, new: NewPayment) -> Payment {
        if let Some(stored) = self.payment(new.id) {
            return stored.clone();
        }
        let payment = Payment {
            id: new.id,
            order: new.order,
            merchant: new.merchant,
            amount_minor: new.amount_minor,
            currency: new.currency,
            method: new.method,
            provider: new.provider,
            created_at: new.at,
            epoch: 0,
            charge: None,
            decision: None,
            decided_at: None,
            refunds: Vec::new(),
        };
        self.observer.payment(None, &payment);
        self.rows.insert(new.id, Row { payment: payment.clone(), attempts: Vec::new() });
        payment
    }

    fn begin_attempt(&mut self, id: PaymentId, worker: String, at: Timestamp) -> Begun {
        if let Some(answer) = rejection::not_begun(self.payment(id)) {
            return answer;
        }
        let epoch = self.payment(id).map_or(0, |payment| payment.epoch) + 1;
        self.change(id, |row| {
            row.payment.epoch = epoch;
            row.attempts.push(PaymentAttempt { epoch, worker, begun_at: at, note: None });
        });
        Begun::Attempt { epoch }
    }

    fn record_charge(&mut self, id: PaymentId, epoch: u64, reference: String) -> ChargeRecorded {
        if let Some(answer) = rejection::charge_not_recorded(self.payment(id), epoch) {
            return answer;
        }
        self.change(id, |row| row.payment.charge = Some(reference.clone()));
        ChargeRecorded::Charge(reference)
    }

    fn decide(&mut self, id: PaymentId, epoch: u64, decision: Decision, at: Timestamp) -> Decided {
        let fits = |payment: &Payment| !self.fenced || (epoch > 0 && payment.epoch == epoch);
        let may = |payment: &Payment| fits(payment) && payment.decision.is_none();
        if !self.payment(id).is_some_and(may) {
            return rejection::not_decided(self.payment(id));
        }
        self.change(id, |row| {
            row.payment.decision = Some(decision);
            row.payment.decided_at = Some(at);
        });
        if let Some(payment) = self.payment(id) {
            self.observer.decided(payment, epoch);
        }
        Decided::Recorded
    }

    fn begin_refund(
        &mut self,
        id: PaymentId,
        refund: RefundId,
        amount_minor: i64,
        at: Timestamp,
    ) -> RefundBegun {
        let Some(payment) = self.payment(id) else { return RefundBegun::NotFound };
        match rejection::refund_not_begun(payment, refund) {
            RefundBegun::TooMuch { refundable_minor } if (1..=refundable_minor).contains(&amount_minor) => {}
            answer => return answer,
        }
        self.change(id, |row| {
            let refunds = &mut row.payment.refunds;
            refunds.push(Refund { id: refund, amount_minor, begun_at: at, state: RefundState::Open });
            refunds.sort_by_key(|refund| (refund.begun_at, refund.id));
        });
        RefundBegun::Open
    }

    fn end_refund(&mut self, id: PaymentId, refund: RefundId, done: bool) -> Option<RefundState> {
        let known = self.payment(id)?.refunds.iter().find(|known| known.id == refund)?;
        if known.state != RefundState::Open {
            return Some(known.state);
        }
        let ended = rejection::refund_state(Some(done));
        self.change(id, |row| {
            row.payment
                .refunds
                .iter_mut()
                .filter(|known| known.id == refund)
                .for_each(|known| known.state = ended);
        });
        Some(ended)
    }

    fn of_day(
        &self,
        merchant: MerchantId,
        day: Timestamp,
        after: Option<PaymentId>,
        limit: u32,
    ) -> Vec<PaymentEntry> {
        let (from, until) = rejection::day_millis(day);
        let after = match after {
            None => None,
            // A page after an unknown payment is empty.
            Some(id) => match self.payment(id) {
                Some(payment) => Some((payment.created_at, id)),
                None => return Vec::new(),
            },
        };
        let payments = self.rows.values().map(|row| &row.payment);
        let mut found: Vec<_> = payments
            .filter(|payment| payment.merchant == merchant)
            .filter(|payment| (from..until).contains(&payment.created_at.as_millisecond()))
            .filter(|payment| after.is_none_or(|after| (payment.created_at, payment.id) > after))
            .collect();
        found.sort_by_key(|payment| (payment.created_at, payment.id));
        found.into_iter().take(some(limit)).map(entry).collect()
    }

    fn all(&self, after: Option<PaymentId>, limit: u32) -> Vec<PaymentEntry> {
        let payments = self.rows.values().map(|row| &row.payment);
        let rest = payments.filter(|payment| after.is_none_or(|after| payment.id > after));
        rest.take(some(limit)).map(entry).collect()
    }
}

#[async_trait]
impl PaymentStore for MemoryPayments {
    async fn open_payment(&self, payment: NewPayment) -> Result<Payment, StoreError> {
        self.0.write("open", move |state, _| Ok(state.open(payment))).await
    }

    async fn begin_attempt(&self, id: PaymentId, worker: &str, at: Timestamp) -> Result<Begun, StoreError> {
        // A lightweight transaction names the attempt it follows. One that takes effect after its caller gave up fails
        // if another attempt began in between; one whose caller waits is retried on top of that attempt.
        let (worker, seen) = (worker.to_owned(), self.peek(id).map_or(0, |payment| payment.epoch));
        let begin = move |state: &mut PaymentsState, timing| {
            let newest = state.payment(id).map_or(0, |payment| payment.epoch);
            if timing == Timing::Late && newest != seen {
                return Ok(Begun::NotFound);
            }
            Ok(state.begin_attempt(id, worker, at))
        };
        self.0.write("begin_attempt", begin).await
    }

    async fn annotate_attempt(
        &self,
        id: PaymentId,
        epoch: u64,
        note: &str,
        _at: Timestamp,
    ) -> Result<(), StoreError> {
        let note = note.to_owned();
        let keep = move |state: &mut PaymentsState, _| {
            let attempts = state.rows.get_mut(&id).map(|row| &mut row.attempts);
            let attempt = attempts.and_then(|all| all.iter_mut().find(|attempt| attempt.epoch == epoch));
            // The first note stands; a note on an attempt that never began is dropped.
            if let Some(attempt) = attempt {
                attempt.note.get_or_insert(note);
            }
            Ok(())
        };
        self.0.write("note_attempt", keep).await
    }

    async fn record_charge(
        &self,
        id: PaymentId,
        epoch: u64,
        reference: &str,
        _at: Timestamp,
    ) -> Result<ChargeRecorded, StoreError> {
        let reference = reference.to_owned();
        let record = move |state: &mut PaymentsState, _| Ok(state.record_charge(id, epoch, reference));
        self.0.write("record_charge", record).await
    }

    async fn record_decision(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: Decision,
        at: Timestamp,
    ) -> Result<Decided, StoreError> {
        self.0.write("decide", move |state, _| Ok(state.decide(id, epoch, decision, at))).await
    }

    async fn payment(&self, id: PaymentId) -> Result<Option<Payment>, StoreError> {
        self.0.read("payment", |state| state.payment(id).cloned()).await
    }

    async fn payments(&self, ids: &[PaymentId]) -> Result<Vec<Payment>, StoreError> {
        let read = |state: &PaymentsState| ids.iter().filter_map(|id| state.payment(*id).cloned()).collect();
        self.0.read("payments", read).await
    }

    async fn attempts(&self, id: PaymentId) -> Result<Vec<PaymentAttempt>, StoreError> {
        let attempts = |state: &PaymentsState| state.rows.get(&id).map(|row| row.attempts.clone());
        Ok(self.0.read("attempts", attempts).await?.unwrap_or_default())
    }

    async fn by_provider_reference(
        &self,
        provider: &str,
        reference: &str,
    ) -> Result<Option<PaymentId>, StoreError> {
        let matching = |payment: &Payment| {
            payment.provider == provider
                && matches!(&payment.decision, Some(Decision::Captured { provider_reference })
                    if provider_reference == reference)
        };
        let find = |state: &PaymentsState| {
            state.rows.values().find(|row| matching(&row.payment)).map(|row| row.payment.id)
        };
        self.0.read("by_provider_reference", find).await
    }

    async fn list_by_day(
        &self,
        merchant: MerchantId,
        day: Timestamp,
        after: Option<PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentEntry>, StoreError> {
        self.0.read("of_day", |state| state.of_day(merchant, day, after, limit)).await
    }

    async fn scan(&self, after: Option<PaymentId>, limit: u32) -> Result<Vec<PaymentEntry>, StoreError> {
        self.0.read("all", |state| state.all(after, limit)).await
    }

    async fn begin_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        amount_minor: i64,
        at: Timestamp,
    ) -> Result<RefundBegun, StoreError> {
        let begin = move |state: &mut PaymentsState, _| Ok(state.begin_refund(id, refund, amount_minor, at));
        self.0.write("begin_refund", begin).await
    }

    async fn end_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        done: bool,
        _provider_reference: &str,
        _at: Timestamp,
    ) -> Result<Option<RefundState>, StoreError> {
        self.0.write("end_refund", move |state, _| Ok(state.end_refund(id, refund, done))).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.0.read("ping", |_| ()).await
    }
}

fn entry(payment: &Payment) -> PaymentEntry {
    PaymentEntry {
        id: payment.id,
        order: payment.order,
        amount_minor: payment.amount_minor,
        currency: payment.currency,
        created_at: payment.created_at,
    }
}
