//! A provider behind a rate limit and a circuit breaker.
//!
//! Guarantees: no call leaves this process above the rate; none leaves while the breaker is open. Either way the answer
//! is [`ProviderError::Paused`], after a bounded wait, and nothing was done. The breaker counts unreachability, missing
//! answers and refused credentials; a decline, and any other answer that makes sense, is a sign of health. Too many
//! requests are neither: they say that the rate is set too high.
//!
//! The rate is that of operations. One may take several requests: a refund at Stripe is looked for first, a charge whose
//! answer was lost is looked for page by page.

use std::{
    future::Future,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base::Ambient;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};

use super::{
    CaptureRequest, ChargeOutcome, ChargeQuery, ChargeReport, Ledger, PaymentProvider, ProviderError,
    RefundOutcome, RefundRequest,
    breaker::{Breaker, BreakerConfig, CallOutcome},
};

/// Longest wait for the rate limit; longer ones are the queue's business.
const TURN_WAIT_MAX: Duration = Duration::from_secs(2);
/// What a job that came too early is spread over.
const TURN_SPREAD: Duration = Duration::from_secs(1);

/// Limits of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuardConfig {
    /// Calls per second of this process, and how many may come at once; `None`: as many as there are.
    pub rate: Option<Rate>,
    /// When to give the provider a rest.
    pub breaker: BreakerConfig,
}

/// Calls per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sustained.
    pub per_second: NonZeroU32,
    /// At once, after a quiet time.
    pub burst: NonZeroU32,
}

/// The guarded provider.
pub struct Guarded {
    provider: Arc<dyn PaymentProvider>,
    limiter: Option<Limiter>,
    breaker: Breaker,
    ambient: Ambient,
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, DefaultClock, NoOpMiddleware>;

impl Guarded {
    /// Guards a provider.
    pub fn new(provider: Arc<dyn PaymentProvider>, config: GuardConfig, ambient: Ambient) -> Self {
        let quota = |rate: Rate| Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let limiter = config.rate.map(|rate| RateLimiter::direct(quota(rate)));
        let breaker = Breaker::new(provider.name(), config.breaker, ambient.clone());
        Self { provider, limiter, breaker, ambient }
    }

    /// Its breaker, for gates and health.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Makes a call, if it may be made. `call` does nothing before it is polled.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        // The rate first: a probe must not be held up by it.
        self.acquire_permit().await?;
        let entered = self.breaker.enter().map_err(|wait| ProviderError::Paused { wait })?;
        let answer = call.await;
        entered.settle(answer.as_ref().map_or_else(call_outcome, |_| CallOutcome::Works));
        answer
    }

    /// Waits for a turn under the rate limit.
    async fn acquire_permit(&self) -> Result<(), ProviderError> {
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
        ProviderError::TOO_MANY_TO_SEARCH | ProviderError::Pending { .. } => CallOutcome::Works,
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

    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError> {
        self.call(self.provider.capture(request)).await
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        self.call(self.provider.find(charge)).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome, ProviderError> {
        self.call(self.provider.refund(request)).await
    }

    async fn report(&self, reference: &str) -> Result<Option<ChargeReport>, ProviderError> {
        self.call(self.provider.report(reference)).await
    }

    fn keys_kept(&self) -> Duration {
        self.provider.keys_kept()
    }

    fn paused(&self) -> Option<Duration> {
        self.breaker.paused()
    }

    /// Unguarded: an audit is no charge, and says itself when it cannot look.
    fn ledger(&self) -> Option<&dyn Ledger> {
        self.provider.ledger()
    }
}
