//! Admission of orders by backlog: how long an order will take, and whether new ones are accepted.
//!
//! One task per process measures the backlog in the order store every [`MEASURE_EVERY`]: open orders, the oldest work
//! that waits, and the orders that ended lately. The API never asks the broker. While the oldest work has waited for
//! longer than a limit, new orders are refused with the time after which another try is worth it; orders from carts
//! that were made before go first.
//!
//! Guarantees: a repetition of an accepted order is never refused. Without a fresh measurement every order is accepted,
//! and no estimate is told. While orders are refused, one of them is accepted every [`rule::PROBE_EVERY`]: its end
//! shows that orders move again, so that work which is stuck for good does not close a shop.
//!
//! Read on in [`rule`], the decisions, and in [`crate::waiting_room`], which admits shoppers instead of orders.
//! docs/ADMISSION.md describes the settings.

pub(crate) mod rule;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Ambient, Timestamp};
use store::{OrderStore, domain::MerchantId};

use self::rule::Backlog;
use crate::{
    config::AdmissionLimits,
    limits::seconds_ceil,
    problem::{Kind, Problem, Result},
};

/// Interval of measurements.
const MEASURE_EVERY: Duration = Duration::from_secs(2);

/// The measured backlog, and what this process has accepted since.
pub(crate) struct OrderAdmission {
    config: AdmissionLimits,
    orders: Arc<dyn OrderStore>,
    ambient: Ambient,
    measured: Mutex<Measured>,
    /// Orders placed by this process since its start.
    placed: AtomicU64,
    counts: Counts,
}

#[derive(Default)]
struct Measured {
    backlog: Option<Backlog>,
    /// `placed` when the measurement began.
    placed_before: u64,
    /// When the latest of the orders was placed that were ever seen to have ended.
    latest_ended: Option<Timestamp>,
    /// Since when orders are refused, or the last one was accepted all the same.
    probed_at: Option<Timestamp>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    refused: AtomicU64,
    waiting: AtomicU64,
}

/// Decisions on orders in this process since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionCounts {
    /// Orders that went on to be placed.
    pub accepted: u64,
    /// Orders that were refused because of the backlog.
    pub refused: u64,
    /// Orders of shoppers who have to go through the waiting room first.
    pub waiting: u64,
}

impl OrderAdmission {
    pub(crate) fn new(config: AdmissionLimits, orders: Arc<dyn OrderStore>, ambient: Ambient) -> Self {
        let (measured, placed) = (Mutex::default(), AtomicU64::new(0));
        Self { config, orders, ambient, measured, placed, counts: Counts::default() }
    }

    /// Decides whether an order may be placed under this key. `cart_made_at`: when the cart was made that is ordered.
    ///
    /// # Errors
    /// 503 while orders wait for too long, unless the order was accepted before.
    pub(crate) async fn admit(
        &self,
        merchant: MerchantId,
        idempotency_key: &str,
        cart_made_at: Option<Timestamp>,
    ) -> Result<()> {
        if let Some(wait) = self.refusal(cart_made_at)
            && !self.was_accepted(merchant, idempotency_key).await?
        {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            let seconds = seconds_ceil(wait);
            let detail = format!("orders wait for longer than usual; try again in {seconds} s");
            return Err(Problem::new(Kind::REDUCED_CAPACITY, detail).retry_after(seconds));
        }
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether an order was accepted under this key: its repetition gets the same answer whatever the load.
    pub(crate) async fn was_accepted(&self, merchant: MerchantId, idempotency_key: &str) -> Result<bool> {
        Ok(self.orders.recorded_answer(merchant, idempotency_key).await?.is_some())
    }

    /// Time by which an order that is placed now will be fulfilled; `None` while too few orders have ended to tell.
    pub(crate) fn estimate(&self) -> Option<Timestamp> {
        let measured = self.measured();
        let more = self.placed.load(Ordering::Relaxed).saturating_sub(measured.placed_before);
        measured.backlog?.estimate(more, self.ambient.now())
    }

    /// Counts an order that was placed: later ones wait behind it.
    pub(crate) fn note_placed(&self) {
        self.placed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an order of a shopper who has to wait.
    pub(crate) fn note_waiting(&self) {
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// The last measurement, unless it is too old to count.
    pub(crate) fn backlog(&self) -> Option<Backlog> {
        self.measured().backlog.filter(|backlog| backlog.is_fresh(self.ambient.now()))
    }

    pub(crate) const fn limits(&self) -> &AdmissionLimits {
        &self.config
    }

    pub(crate) fn counts(&self) -> AdmissionCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { accepted, refused, waiting } = &self.counts;
        AdmissionCounts { accepted: count(accepted), refused: count(refused), waiting: count(waiting) }
    }

    /// The wait before another try; `None` for an order that is accepted, or is the one to probe with.
    fn refusal(&self, cart_made_at: Option<Timestamp>) -> Option<Duration> {
        let now = self.ambient.now();
        let mut measured = self.measured();
        let wait = measured.backlog?.refusal(&self.config, cart_made_at, now)?;
        (!rule::is_probe(&mut measured.probed_at, now)).then_some(wait)
    }

    async fn measure(&self) {
        let now = self.ambient.now();
        let placed_before = self.placed.load(Ordering::Relaxed);
        let latest_ended = self.measured().latest_ended;
        let load = match self.orders.order_load(rule::span(now, latest_ended)).await {
            Ok(load) => load,
            Err(error) => {
                // Requests log the outage of the store; here each measurement would.
                tracing::debug!(%error, "backlog not measured");
                return;
            }
        };
        let backlog = Backlog::of(&load, now);
        let mut measured = self.measured();
        measured.latest_ended = latest_ended.max(rule::latest_ended(&load));
        (measured.backlog, measured.placed_before) = (Some(backlog), placed_before);
        if backlog.refusal(&self.config, None, now).is_none() {
            measured.probed_at = None;
        }
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        // A panic between two assignments leaves figures of two measurements, until the next one.
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures until the last clone of the state is dropped.
pub(crate) async fn measure(admission: Weak<OrderAdmission>) {
    let mut ticks = tokio::time::interval(MEASURE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(admission) = admission.upgrade() else { break };
        admission.measure().await;
    }
}
