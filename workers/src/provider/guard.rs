//! Payment provider behind a rate limit and a circuit breaker.
//!
//! Guarantees: no call leaves this process above the rate, and none while the breaker is open. A call that is held back
//! returns [`ProviderError::Paused`] after a bounded wait and has no effect. The breaker counts unreachability, missing
//! answers and rejected credentials as failures; a decline, and any other valid answer, is a sign of health. A
//! rate-limit answer is neither: it says that the configured rate is too high.
//!
//! The rate counts operations. One operation may take several requests: a refund at Stripe is looked up first, a
//! declined charge is cancelled.

use std::{
    future::Future,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base::{Ambient, spans};
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use tracing::{Instrument, Span, field::Empty, info_span};

use super::{
    CaptureRequest, ChargeOutcome, ChargeQuery, ChargeReport, Created, Ledger, PaymentProvider,
    ProviderCalls, ProviderError, RefundOutcome, RefundRequest, Result,
    breaker::{Breaker, BreakerConfig, CallOutcome},
};

/// Longest wait for the rate limit; for longer waits the job is snoozed.
const TURN_WAIT_MAX: Duration = Duration::from_secs(2);
/// Jitter added to the wait of a snoozed job.
const TURN_SPREAD: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuardConfig {
    /// Rate of this process; `None`: unlimited.
    pub rate: Option<Rate>,
    pub breaker: BreakerConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sustained calls per second.
    pub per_second: NonZeroU32,
    /// Calls at once after an idle time.
    pub burst: NonZeroU32,
}

pub struct Guarded {
    provider: Arc<dyn PaymentProvider>,
    limiter: Option<DefaultDirectRateLimiter>,
    breaker: Breaker,
    calls: ProviderCalls,
    ambient: Ambient,
}

impl Guarded {
    pub fn new(provider: Arc<dyn PaymentProvider>, config: GuardConfig, ambient: Ambient) -> Self {
        let quota = |rate: Rate| Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let limiter = config.rate.map(|rate| RateLimiter::direct(quota(rate)));
        let breaker = Breaker::new(provider.name(), config.breaker, ambient.clone());
        Self { provider, limiter, breaker, calls: ProviderCalls::default(), ambient }
    }

    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Durations of the calls that were let through.
    pub fn calls(&self) -> &ProviderCalls {
        &self.calls
    }

    /// Makes a call where rate and breaker allow it. `call` does nothing before it is polled.
    async fn call<T>(&self, operation: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        // The rate limit comes first: it must not delay a probe.
        self.acquire_permit().await?;
        let entered = self.breaker.enter().map_err(|wait| ProviderError::Paused { wait })?;
        let timed = self.calls.begin(operation);
        let span = self.span(operation);
        let answer = call.instrument(span.clone()).await;
        let outcome = answer.as_ref().map_or_else(call_outcome, |_| CallOutcome::Works);
        if let Some(error) = answer.as_ref().err().filter(|_| outcome != CallOutcome::Works) {
            spans::fail(&span, &error.to_string());
        }
        timed.end(outcome == CallOutcome::Works);
        entered.settle(outcome);
        answer
    }

    /// The span that is recorded of an operation, which may take several requests.
    fn span(&self, operation: &str) -> Span {
        let name = self.provider.name();
        info_span!(
            target: spans::TARGET,
            "provider",
            otel.name = %format_args!("{operation} {name}"),
            "otel.status_code" = Empty,
            "error.type" = Empty,
            "orderworks.provider.name" = name,
            "orderworks.provider.operation" = operation,
        )
    }

    /// Waits for the rate limit.
    async fn acquire_permit(&self) -> Result<()> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let began = Instant::now();
        while let Err(early) = limiter.check() {
            let wait = early.wait_time_from(DefaultClock::default().now());
            if began.elapsed() + wait > TURN_WAIT_MAX {
                return Err(ProviderError::Paused { wait: wait + self.ambient.jitter(TURN_SPREAD) });
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }
}

fn call_outcome(error: &ProviderError) -> CallOutcome {
    match *error {
        ProviderError::Unavailable { .. } => {
            CallOutcome::Fails("it cannot be reached or says it cannot work")
        }
        ProviderError::TOO_MANY_TO_SEARCH | ProviderError::Pending { .. } | ProviderError::Debit { .. } => {
            CallOutcome::Works
        }
        ProviderError::Unknown { .. } => CallOutcome::Fails("it gives no answer"),
        ProviderError::Authentication => CallOutcome::Refuses,
        ProviderError::RateLimited { .. } | ProviderError::Protocol { .. } | ProviderError::Paused { .. } => {
            CallOutcome::Neither
        }
    }
}

#[async_trait]
impl PaymentProvider for Guarded {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn creates_first(&self) -> bool {
        self.provider.creates_first()
    }

    async fn create(&self, request: &CaptureRequest) -> Result<Created> {
        self.call("create", self.provider.create(request)).await
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome> {
        self.call("capture", self.provider.capture(request)).await
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>> {
        self.call("find", self.provider.find(charge)).await
    }

    async fn abandon(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>> {
        self.call("abandon", self.provider.abandon(charge)).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome> {
        self.call("refund", self.provider.refund(request)).await
    }

    async fn report(&self, reference: &str) -> Result<Option<ChargeReport>> {
        self.call("report", self.provider.report(reference)).await
    }

    fn paused(&self) -> Option<Duration> {
        self.breaker.paused()
    }

    /// Unguarded: an audit moves no money, and reports itself when it cannot read the ledger.
    fn ledger(&self) -> Option<&dyn Ledger> {
        self.provider.ledger()
    }
}
