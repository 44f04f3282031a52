//! Protection of storefronts against card testing: trying stolen cards by orders, to learn which of them are charged.
//!
//! An order with a publishable key is decided before it is placed, so what is refused never reaches the payment
//! provider:
//! - Orders that are *not paid (yet)* count by address and by device. Guests may have a few, signed-in customers more;
//!   paid ones no longer count, all others for some minutes each. So an attacker is stopped by what is under way,
//!   before the first decline is known, and honest customers behind one address are not, as their orders are paid.
//! - Beyond that a *proof of work* lets a few more through: work or waiting instead of a puzzle for people.
//! - *Declined* payments count by payment method and by customer account.
//! - When most payments of a merchant are declined, an *alarm* begins: the merchant is told by an event, and for a
//!   while guests need a proof for each order.
//!
//! Guarantees: a refused order takes nothing from any counter; counters are bounded and, where processes share a
//! counter server, shared; without that server each process counts alone. The process that accepted an order follows
//! its payment in the order store ([`watch`]), so it learns of the end whichever worker charged. What it follows, and
//! the share of declines by which it raises the alarm, are its own: after a restart unpaid orders count until their
//! time is over.
//!
//! Does not count orders with a secret key by address or customer: these are those of the merchant's server. Their
//! payments count for the alarm. `docs/RATE_LIMITS.md` describes the settings.

mod proof;
mod ratio;
mod subjects;
mod watch;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{Ambient, time::between};
use cache::{Claim, RateLimits};
use http::{HeaderMap, HeaderName, HeaderValue};
use store::{
    OrderStore,
    domain::{CustomerId, MerchantId, OrderId, OrderStatus},
    merchants::{KeyRecord, KeyScope},
    orders::PlaceOutcome,
};

use self::{
    ratio::Ratios,
    subjects::{Counter, Subjects},
    watch::{LOOK_EVERY, Payment, Watched},
};
use crate::{
    config::CardTestingLimits,
    input::required_idempotency_key,
    limits::{rate_fields, seconds_ceil},
    problem::{Kind, Problem, Result},
};

const PROOF_BITS: HeaderName = HeaderName::from_static("orderworks-proof-bits");
/// Payments read at once.
const LOOK_MAX: usize = 500;

/// The counters and what this process follows.
pub(crate) struct CardTesting {
    config: CardTestingLimits,
    limits: Arc<dyn RateLimits>,
    orders: Arc<dyn OrderStore>,
    ambient: Ambient,
    ratios: Ratios,
    watched: Watched,
    counts: Counts,
}

/// Counts since the start of this process.
#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    proof_required: AtomicU64,
    refused: AtomicU64,
    captured: AtomicU64,
    declined: AtomicU64,
}

/// What the protection against card testing has counted in this process since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardTestingCounts {
    /// Orders that were let through.
    pub accepted: u64,
    /// Orders that were asked for a proof of work.
    pub proof_required: u64,
    pub refused: u64,
    /// Payments of accepted orders that were captured.
    pub captured: u64,
    /// Payments of accepted orders that were declined.
    pub declined: u64,
    /// Merchants with an alarm now.
    pub alarms: u64,
}

/// Who orders, and with what.
pub(crate) struct CardCaller<'a> {
    pub(crate) key: &'a KeyRecord,
    pub(crate) address: IpAddr,
    /// The customer who is signed in.
    pub(crate) account: Option<CustomerId>,
    pub(crate) payment_method: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

/// An order that was let through, before it is placed. Dropped without [`CardTesting::settle`] it counts as unpaid: it
/// may have been placed.
#[must_use]
pub(crate) struct CardAttempt {
    merchant: MerchantId,
    /// `None` with a secret key.
    subjects: Option<Subjects>,
}

impl CardTesting {
    pub(crate) fn new(
        config: CardTestingLimits,
        limits: Arc<dyn RateLimits>,
        orders: Arc<dyn OrderStore>,
        ambient: Ambient,
    ) -> Self {
        let (ratios, watched) = (Ratios::new(config), Watched::default());
        Self { config, limits, orders, ambient, ratios, watched, counts: Counts::default() }
    }

    /// Decides whether an order may be placed.
    ///
    /// # Errors
    /// 429: a proof of work is required, or too many orders are not paid or were declined.
    pub(crate) async fn admit(&self, caller: CardCaller<'_>) -> Result<CardAttempt> {
        let CardCaller { key, address, account, payment_method, headers } = caller;
        let merchant = key.merchant;
        if key.scope == KeyScope::Secret {
            return Ok(CardAttempt { merchant, subjects: None });
        }
        let is_proven = proof::is_valid(headers, &required_idempotency_key(headers)?, self.config.proof_bits);
        let subjects = Subjects::of(merchant, address, account, payment_method, headers);
        let allowed = match (is_proven, account) {
            (true, _) => self.config.unpaid_with_proof,
            (false, Some(_)) => self.config.unpaid_per_customer,
            (false, None) => self.config.unpaid_per_guest,
        };
        let counters = subjects.counters(&self.config, allowed);
        let now = self.ambient.now();
        let alarm = self.ratios.alarm_until(merchant, now);
        if let (Some(until), Some(first)) = (alarm, counters.first())
            && account.is_none()
            && !is_proven
        {
            return Err(self.proof_required(first, between(now, until)));
        }
        let claims: Vec<Claim> = counters.iter().map(|counter| counter.claim.clone()).collect();
        // Without an answer, which these counters always give, orders go on.
        let refused = self.limits.take_all(&claims).await.ok().flatten();
        let refused = refused.and_then(|refused| Some((counters.get(refused.claim)?, refused.retry_after)));
        match refused {
            None => {
                self.counts.accepted.fetch_add(1, Ordering::Relaxed);
                Ok(CardAttempt { merchant, subjects: Some(subjects) })
            }
            Some((counter, wait)) if counter.claim.counts && !is_proven => {
                Err(self.proof_required(counter, wait))
            }
            Some((counter, wait)) => Err(self.refusal(counter, wait)),
        }
    }

    /// Follows the payment of an order that was placed. One that was not, or costs nothing, does not count.
    pub(crate) async fn settle(&self, attempt: CardAttempt, outcome: &PlaceOutcome) {
        let CardAttempt { merchant, subjects } = attempt;
        match outcome {
            PlaceOutcome::Placed { order, .. } if order.total_minor > 0 => {
                let now = self.ambient.now();
                self.watched.add(order.id, Payment { merchant, subjects, placed_at: now }, now);
            }
            _ => self.give_back(subjects.as_ref()).await,
        }
    }

    pub(crate) fn counts(&self) -> CardTestingCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { accepted, proof_required, refused, captured, declined } = &self.counts;
        CardTestingCounts {
            accepted: count(accepted),
            proof_required: count(proof_required),
            refused: count(refused),
            captured: count(captured),
            declined: count(declined),
            alarms: self.ratios.alarms(self.ambient.now()),
        }
    }

    fn proof_required(&self, counter: &Counter, wait: Duration) -> Problem {
        self.counts.proof_required.fetch_add(1, Ordering::Relaxed);
        let (bits, seconds) = (self.config.proof_bits, seconds_ceil(wait));
        let detail = format!(
            "send `Orderworks-Proof`: a text with which SHA-256 of the idempotency key, a colon and the text begins with \
             {bits} zero bits; or try again in {seconds} s"
        );
        let problem =
            Problem::new(Kind::PROOF_REQUIRED, detail).with_header(PROOF_BITS, HeaderValue::from(bits));
        told(problem, counter, seconds)
    }

    fn refusal(&self, counter: &Counter, wait: Duration) -> Problem {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        let seconds = seconds_ceil(wait);
        told(Problem::new(Kind::RATE_LIMITED, format!("try again in {seconds} s")), counter, seconds)
    }

    async fn give_back(&self, subjects: Option<&Subjects>) {
        let Some(subjects) = subjects else { return };
        // Without an answer the order counts until its time is over.
        drop(self.limits.give_back(&subjects.unpaid(&self.config)).await);
    }

    /// Looks at the payments that are due; true when there may be more.
    async fn look(&self) -> bool {
        let now = self.ambient.now();
        let due = self.watched.due(now, LOOK_MAX);
        if due.is_empty() {
            return false;
        }
        let ids: Vec<OrderId> = due.iter().map(|(id, _)| *id).collect();
        let found = self.orders.statuses(&ids).await;
        if let Err(error) = &found {
            // Requests log the outage of the store; here each look would.
            tracing::debug!(%error, "ends of payments not read");
        }
        let is_last = found.is_err() || due.len() < LOOK_MAX;
        let found: HashMap<OrderId, OrderStatus> = found.unwrap_or_default().into_iter().collect();
        for (id, payment) in due {
            match found.get(&id) {
                None | Some(OrderStatus::Pending) => self.watched.again(id, payment, now),
                Some(OrderStatus::PaymentFailed) => self.declined(payment).await,
                Some(OrderStatus::Paid | OrderStatus::Fulfilled | OrderStatus::Refunded) => {
                    self.captured(payment).await;
                }
                // Whether the card was charged before is not known.
                Some(OrderStatus::Cancelled) => {}
            }
        }
        !is_last
    }

    async fn captured(&self, payment: Payment) {
        self.counts.captured.fetch_add(1, Ordering::Relaxed);
        self.give_back(payment.subjects.as_ref()).await;
        // One more captured payment raises no alarm.
        self.ratios.note(payment.merchant, false, self.ambient.now());
    }

    async fn declined(&self, payment: Payment) {
        self.counts.declined.fetch_add(1, Ordering::Relaxed);
        for claim in payment.subjects.iter().flat_map(|subjects| subjects.declined(&self.config)) {
            // A counter that is used up stays so.
            drop(self.limits.take_all(&[claim]).await);
        }
        let now = self.ambient.now();
        let Some(facts) = self.ratios.note(payment.merchant, true, now) else { return };
        let (payments, declined, merchant) = (facts.payments, facts.declined, payment.merchant);
        tracing::warn!(merchant.id = %merchant, payments, declined, "card testing suspected");
        if let Err(error) = self.orders.tell_card_testing(merchant, facts, now).await {
            tracing::error!(merchant.id = %merchant, %error, "merchant not told of card testing");
            self.ratios.not_told(merchant);
        }
    }
}

/// Follows payments until the last clone of the state is dropped.
pub(crate) async fn follow_payments(card_testing: Weak<CardTesting>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let Some(card_testing) = card_testing.upgrade() else { break };
        while card_testing.look().await {}
    }
}

fn told(problem: Problem, counter: &Counter, seconds: u64) -> Problem {
    let quota = counter.claim.quota;
    let fields = rate_fields(counter.policy, quota.interval, quota.burst, 0, seconds);
    problem.retry_after(seconds).violating(counter.policy).with_headers(fields)
}
