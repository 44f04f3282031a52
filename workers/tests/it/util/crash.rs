//! Crash of a run after a step: the step takes effect, and nothing of the run happens after it. Or a pause there.

use std::sync::Arc;

use async_trait::async_trait;
use base::Timestamp;
use jobs::{Job, JobContext, JobError};
use store::{
    PaymentStore, StoreError,
    domain::{Decision, MerchantId, Payment, PaymentAttempt, PaymentId, RefundId, RefundState},
    payments::{Begun, ChargeRecorded, Decided, NewPayment, PaymentEntry, RefundBegun},
};
use tokio::sync::Notify;
use workers::{
    Env,
    provider::{
        CaptureRequest, ChargeOutcome, ChargeQuery, Created, PaymentProvider, ProviderError, RefundOutcome,
        RefundRequest,
    },
};

/// A step of a charge or a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Open,
    Begin,
    Create,
    RecordCharge,
    Capture,
    Decide,
    BeginRefund,
    Refund,
    EndRefund,
}

#[derive(Clone)]
pub(crate) struct CrashAt {
    step: Step,
    reached: Arc<Notify>,
    resumed: Arc<Notify>,
}

impl CrashAt {
    pub(crate) fn new(step: Step) -> Self {
        Self { step, reached: Arc::default(), resumed: Arc::default() }
    }

    /// Runs the job until the step is done, then drops it there.
    pub(crate) async fn run<J: Job<Env = Env>>(&self, job: &J, ctx: &JobContext<Env>) {
        tokio::select! {
            result = job.run(ctx) => panic!("ended with {result:?} before {:?}", self.step),
            () = self.reached.notified() => {}
        }
    }

    /// Runs the job to its end, and `meanwhile` between the step and what follows it.
    pub(crate) async fn interrupt<J: Job<Env = Env>>(
        &self,
        job: &J,
        ctx: &JobContext<Env>,
        meanwhile: impl Future<Output = ()>,
    ) -> Result<(), JobError> {
        let between = async {
            self.reached.notified().await;
            meanwhile.await;
            self.resumed.notify_one();
        };
        tokio::join!(job.run(ctx), between).0
    }

    async fn after<T>(&self, step: Step, result: T) -> T {
        if step == self.step {
            self.reached.notify_one();
            self.resumed.notified().await;
        }
        result
    }
}

pub(crate) struct CrashingPayments {
    pub(crate) inner: Arc<dyn PaymentStore>,
    pub(crate) crash: CrashAt,
}

#[async_trait]
impl PaymentStore for CrashingPayments {
    async fn open_payment(&self, payment: NewPayment) -> Result<Payment, StoreError> {
        let result = self.inner.open_payment(payment).await;
        self.crash.after(Step::Open, result).await
    }

    async fn begin_attempt(&self, id: PaymentId, worker: &str, at: Timestamp) -> Result<Begun, StoreError> {
        let result = self.inner.begin_attempt(id, worker, at).await;
        self.crash.after(Step::Begin, result).await
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

    async fn record_charge(
        &self,
        id: PaymentId,
        epoch: u64,
        reference: &str,
        at: Timestamp,
    ) -> Result<ChargeRecorded, StoreError> {
        let result = self.inner.record_charge(id, epoch, reference, at).await;
        self.crash.after(Step::RecordCharge, result).await
    }

    async fn record_decision(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: Decision,
        at: Timestamp,
    ) -> Result<Decided, StoreError> {
        let result = self.inner.record_decision(id, epoch, decision, at).await;
        self.crash.after(Step::Decide, result).await
    }

    async fn payments(&self, ids: &[PaymentId]) -> Result<Vec<Payment>, StoreError> {
        self.inner.payments(ids).await
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
        let result = self.inner.begin_refund(id, refund, amount_minor, at).await;
        self.crash.after(Step::BeginRefund, result).await
    }

    async fn end_refund(
        &self,
        id: PaymentId,
        refund: RefundId,
        done: bool,
        provider_reference: &str,
        at: Timestamp,
    ) -> Result<Option<RefundState>, StoreError> {
        let result = self.inner.end_refund(id, refund, done, provider_reference, at).await;
        self.crash.after(Step::EndRefund, result).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}

pub(crate) struct CrashingProvider {
    pub(crate) inner: Arc<dyn PaymentProvider>,
    pub(crate) crash: CrashAt,
}

#[async_trait]
impl PaymentProvider for CrashingProvider {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn creates_first(&self) -> bool {
        self.inner.creates_first()
    }

    async fn create(&self, request: &CaptureRequest) -> Result<Created, ProviderError> {
        let result = self.inner.create(request).await;
        self.crash.after(Step::Create, result).await
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError> {
        let result = self.inner.capture(request).await;
        self.crash.after(Step::Capture, result).await
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        self.inner.find(charge).await
    }

    async fn abandon(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        self.inner.abandon(charge).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome, ProviderError> {
        let result = self.inner.refund(request).await;
        self.crash.after(Step::Refund, result).await
    }
}
