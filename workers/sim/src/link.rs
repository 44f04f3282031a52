//! Faulty connection to the stores, and the payment store as a worker sees it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base::Timestamp;
use store::{
    PaymentStore, StoreError,
    domain::{Decision, MerchantId, Payment, PaymentAttempt, PaymentId, RefundId, RefundState},
    payments::{Begun, Decided, NewPayment, PaymentEntry, RefundBegun},
};
use store_memory::{Call, Link, MemoryPayments, Passage};

use crate::{
    chance::{Chance, InjectedFault, pause},
    trace::Trace,
    watch::Watch,
};

/// Longest slow call, shorter than the timeout of a job.
const SLOW_MAX: Duration = Duration::from_secs(20);
/// Longest delay of a late write.
const LATE_MAX: Duration = Duration::from_secs(30);

/// Connection of a process to the stores.
pub(crate) struct FaultyLink {
    pub(crate) chance: Arc<Chance>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) process: String,
}

impl FaultyLink {
    fn fails(&self, fault: InjectedFault, call: Call) -> bool {
        let happens = self.chance.happens(fault);
        if happens {
            self.trace.note("fault", || format!("{} {fault:?} {}.{}", self.process, call.store, call.name));
        }
        happens
    }
}

#[async_trait]
impl Link for FaultyLink {
    async fn request(&self, call: Call) -> Passage {
        pause(self.chance.travel()).await;
        if self.fails(InjectedFault::StoreSlow, call) {
            pause(self.chance.some_time(SLOW_MAX)).await;
        }
        if self.fails(InjectedFault::StoreRequestLost, call) {
            return Passage::Lost;
        }
        if call.writes && self.fails(InjectedFault::StoreLate, call) {
            return Passage::Late(self.chance.some_time(LATE_MAX));
        }
        Passage::Arrives
    }

    async fn answer(&self, call: Call) -> bool {
        pause(self.chance.travel()).await;
        !self.fails(InjectedFault::StoreAnswerLost, call)
    }
}

/// Payment store as a worker sees it; checks that only the newest attempt decides.
pub(crate) struct WatchedPayments {
    pub(crate) inner: MemoryPayments,
    pub(crate) watch: Arc<Watch>,
    /// Mutation: decides with the newest epoch, whatever the epoch of the attempt is.
    pub(crate) unfenced: bool,
}

#[async_trait]
impl PaymentStore for WatchedPayments {
    async fn record_decision(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: Decision,
        at: Timestamp,
    ) -> Result<Decided, StoreError> {
        let newest = || self.inner.peek(id).map_or(0, |payment| payment.epoch);
        let claimed = if self.unfenced { newest() } else { epoch };
        let decided = self.inner.record_decision(id, claimed, decision, at).await?;
        // A decided payment takes no further attempt, so the newest epoch is still that of the decision.
        if decided == Decided::Recorded && newest() != epoch {
            let newest = newest();
            self.watch
                .breach("fencing", format!("{id} was decided by attempt {epoch}, the newest is {newest}"));
        }
        Ok(decided)
    }

    async fn open_payment(&self, payment: NewPayment) -> Result<Payment, StoreError> {
        self.inner.open_payment(payment).await
    }

    async fn begin_attempt(&self, id: PaymentId, worker: &str, at: Timestamp) -> Result<Begun, StoreError> {
        self.inner.begin_attempt(id, worker, at).await
    }

    async fn annotate_attempt(
        &self,
        id: PaymentId,
        epoch: u64,
        note: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner.annotate_attempt(id, epoch, note, at).await
    }

    async fn payment(&self, id: PaymentId) -> Result<Option<Payment>, StoreError> {
        self.inner.payment(id).await
    }

    async fn attempts(&self, id: PaymentId) -> Result<Vec<PaymentAttempt>, StoreError> {
        self.inner.attempts(id).await
    }

    async fn by_provider_reference(
        &self,
        provider: &str,
        reference: &str,
    ) -> Result<Option<PaymentId>, StoreError> {
        self.inner.by_provider_reference(provider, reference).await
    }

    async fn list_by_day(
        &self,
        merchant: MerchantId,
        day: Timestamp,
        after: Option<PaymentId>,
        limit: u32,
    ) -> Result<Vec<PaymentEntry>, StoreError> {
        self.inner.list_by_day(merchant, day, after, limit).await
    }

    async fn scan(&self, after: Option<PaymentId>, limit: u32) -> Result<Vec<PaymentEntry>, StoreError> {
        self.inner.scan(after, limit).await
    }

    async fn begin_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        amount_minor: i64,
        at: Timestamp,
    ) -> Result<RefundBegun, StoreError> {
        self.inner.begin_refund(id, refund, amount_minor, at).await
    }

    async fn end_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        done: bool,
        provider_reference: &str,
        at: Timestamp,
    ) -> Result<Option<RefundState>, StoreError> {
        self.inner.end_refund(id, refund, done, provider_reference, at).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}
