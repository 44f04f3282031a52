//! Simulated payment provider: another company's ledger behind an unreliable connection.
//!
//! Keeps the contract of [`PaymentProvider`]: in one half of the runs it remembers keys for ever, in the other it
//! forgets them at once and charges are created before they are captured. A charge takes effect once. A request in
//! flight arrives whether or not its caller still waits.

mod by_hand;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use store::{
    domain::{Currency, OrderId},
    rules::transitions::RefundSums,
};
use tokio::sync::oneshot;
use workers::provider::{
    CaptureRequest, ChargeOutcome, ChargeQuery, ChargeReport, Created, EntryKind, PaymentProvider,
    ProviderError, RefundOutcome, RefundRequest, refund_key,
};

use crate::{
    Mutation,
    chance::{Chance, InjectedFault, pause},
    trace::Trace,
    watch::Watch,
};

/// Longest latency of a request; far less than the three minutes after which no call is assumed to be in flight.
const WAY_MAX: Duration = Duration::from_mins(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// More refunds than an order has.
const CANCELLED_MAX: u64 = 16;
/// Failures of `pm_sandbox_flaky` per order.
const FLAKY_FAILURES: u32 = 2;

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: EntryKind,
    pub(crate) key: String,
    pub(crate) reference: String,
    pub(crate) order: OrderId,
    pub(crate) amount_minor: i64,
    currency: Currency,
}

/// The provider; clones share its ledger.
#[derive(Clone)]
pub(crate) struct SimProvider {
    chance: Arc<Chance>,
    trace: Arc<Trace>,
    watch: Arc<Watch>,
    mutation: Option<Mutation>,
    creates_first: bool,
    books: Arc<Mutex<ProviderState>>,
}

#[derive(Default)]
struct ProviderState {
    ledger: Vec<Entry>,
    charges: BTreeMap<String, ChargeOutcome>,
    refunds: BTreeMap<String, RefundOutcome>,
    /// Keys of the refused refunds of an order.
    refused: BTreeMap<OrderId, BTreeSet<String>>,
    /// Orders that were refunded by hand or disputed.
    by_hand: BTreeSet<OrderId>,
    /// Orders with an open dispute.
    disputed: BTreeSet<OrderId>,
    calls: BTreeMap<OrderId, u32>,
    /// The charge created last for each order, and the number of all.
    created: BTreeMap<OrderId, String>,
    charges_created: u32,
    on_their_way: usize,
}

impl SimProvider {
    pub(crate) fn new(
        chance: Arc<Chance>,
        trace: Arc<Trace>,
        watch: Arc<Watch>,
        mutation: Option<Mutation>,
    ) -> Self {
        let creates_first = chance.one_in(2);
        Self { chance, trace, watch, mutation, creates_first, books: Arc::default() }
    }

    pub(crate) fn ledger(&self) -> Vec<Entry> {
        self.books.lock().ledger.clone()
    }

    /// Whether the provider refused the refund with this key.
    pub(crate) fn has_refused(&self, order: OrderId, key: &str) -> bool {
        self.books.lock().refused.get(&order).is_some_and(|refused| refused.contains(key))
    }

    /// Whether no request is in flight.
    pub(crate) fn is_idle(&self) -> bool {
        self.books.lock().on_their_way == 0
    }

    /// Sends a request: it arrives independently of its caller, and is answered if the caller still waits.
    async fn exchange<T: Send + 'static>(
        &self,
        what: &'static str,
        effect: impl FnOnce(&Self) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        if let Some(error) = self.turned_away(what) {
            pause(self.chance.travel()).await;
            return Err(error);
        }
        if self.fails(InjectedFault::ProviderRequestLost, what) {
            pause(self.chance.some_time(RETRY_AFTER_MAX)).await;
            return Err(ProviderError::Unknown { cause: "connection_lost" });
        }
        let way = if self.fails(InjectedFault::ProviderSlow, what) {
            self.chance.some_time(WAY_MAX)
        } else {
            self.chance.travel()
        };
        let (answer, answered) = oneshot::channel();
        let provider = self.clone();
        self.books.lock().on_their_way += 1;
        tokio::spawn(async move {
            pause(way).await;
            let done = effect(&provider);
            provider.books.lock().on_their_way -= 1;
            pause(provider.chance.travel()).await;
            // The caller may be gone.
            let _ = answer.send(done);
        });
        let answer = answered.await;
        if self.fails(InjectedFault::ProviderAnswerLost, what) {
            return Err(ProviderError::Unknown { cause: "connection_lost" });
        }
        answer.unwrap_or(Err(ProviderError::Unknown { cause: "connection_lost" }))
    }

    fn turned_away(&self, what: &'static str) -> Option<ProviderError> {
        if !self.fails(InjectedFault::ProviderBusy, what) {
            return None;
        }
        let wait = Some(self.chance.some_time(RETRY_AFTER_MAX));
        Some(match self.chance.below(4) {
            0 => ProviderError::Unavailable { retry_after: None },
            1 => ProviderError::Unavailable { retry_after: wait },
            2 => ProviderError::RateLimited { retry_after: wait },
            _ => ProviderError::Unknown { cause: "server_error" },
        })
    }

    fn fails(&self, fault: InjectedFault, what: &'static str) -> bool {
        let happens = self.chance.happens(fault);
        if happens {
            self.trace.note("fault", || format!("{fault:?} {what}"));
        }
        happens
    }

    fn charge(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError> {
        let mut books = self.books.lock();
        let newest =
            books.created.get(&request.order).filter(|_| self.mutation == Some(Mutation::UnrecordedCharge));
        let key = &newest.or(request.charge.as_ref()).unwrap_or(&request.idempotency_key).clone();
        if let Some(outcome) = books.charges.get(key) {
            return Ok(outcome.clone());
        }
        let calls = books.calls.entry(request.order).or_default();
        *calls += 1;
        let calls = *calls;
        let outcome = match request.method.as_str() {
            "pm_sandbox_flaky" if calls <= FLAKY_FAILURES => {
                return Err(ProviderError::Unavailable { retry_after: None });
            }
            "pm_card_chargeDeclined" => ChargeOutcome::Declined { code: "card_declined".to_owned() },
            _ if self.creates_first => ChargeOutcome::Captured { provider_reference: key.clone() },
            _ => ChargeOutcome::Captured { provider_reference: format!("ch_{}", books.ledger.len() + 1) },
        };
        books.charges.insert(key.clone(), outcome.clone());
        if let ChargeOutcome::Captured { provider_reference } = &outcome {
            let (key, reference) = (key.clone(), provider_reference.clone());
            let (order, amount_minor, currency) = (request.order, request.amount_minor, request.currency);
            books.ledger.push(Entry {
                kind: EntryKind::Charge,
                key,
                reference,
                order,
                amount_minor,
                currency,
            });
        }
        let times = books.times_taken(request.order);
        drop(books);
        self.trace.note("provider", || format!("charge {key} of {}: {outcome:?}", request.order));
        if times > 1 {
            self.watch.breach("I2", format!("{} was charged {times} times", request.order));
        }
        Ok(outcome)
    }

    fn give_back(&self, request: &RefundRequest) -> RefundOutcome {
        let key = &request.idempotency_key;
        let mut books = self.books.lock();
        if let Some(outcome) = books.refunds.get(key) {
            return outcome.clone();
        }
        // Without a dispute a refund that follows from a cancellation is not refused: that one is left to people.
        let of_cancelled = (0..CANCELLED_MAX).map(|number| RefundSums::of_cancelled(request.order, number));
        let is_refused = books.disputed.contains(&request.order)
            || (!of_cancelled.map(refund_key).any(|cancelled| cancelled == *key)
                && !books.refused.contains_key(&request.order)
                && self.fails(InjectedFault::RefundRefused, "refund"));
        if is_refused {
            let outcome = RefundOutcome::Refused { code: "charge_disputed".to_owned() };
            books.refused.entry(request.order).or_default().insert(key.clone());
            books.refunds.insert(key.clone(), outcome.clone());
            return outcome;
        }
        let reference = format!("re_{}", books.ledger.len() + 1);
        let (order, amount_minor) = (request.order, request.amount_minor);
        let outcome = if amount_minor > books.left(&request.charge) {
            books.refused.entry(order).or_default().insert(key.clone());
            RefundOutcome::Refused { code: "refund_exceeds_charge".to_owned() }
        } else {
            let (kind, key, charge) = (EntryKind::Refund, key.clone(), request.charge.clone());
            let currency = request.currency;
            books.ledger.push(Entry { kind, key, reference: charge, order, amount_minor, currency });
            RefundOutcome::Done { reference }
        };
        books.refunds.insert(key.clone(), outcome.clone());
        let by_hand = books.by_hand.contains(&order);
        drop(books);
        self.trace.note("provider", || format!("refund {key} of {order} over {amount_minor}: {outcome:?}"));
        // What was refunded by hand leaves less than the shop knows.
        if !by_hand && matches!(outcome, RefundOutcome::Refused { .. }) {
            self.watch.breach("I2", format!("refund {key} of {order} over {amount_minor} was refused"));
        }
        outcome
    }
}

impl ProviderState {
    fn times_taken(&self, order: OrderId) -> usize {
        self.ledger.iter().filter(|e| e.order == order && e.kind == EntryKind::Charge).count()
    }

    /// The amount of a charge that is not yet refunded.
    fn left(&self, charge: &str) -> i64 {
        let of_charge = self.ledger.iter().filter(|entry| entry.reference == charge);
        of_charge
            .map(|entry| match entry.kind {
                EntryKind::Charge => entry.amount_minor,
                EntryKind::Refund => -entry.amount_minor,
            })
            .sum()
    }
}

#[async_trait]
impl PaymentProvider for SimProvider {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn creates_first(&self) -> bool {
        self.creates_first
    }

    async fn create(&self, request: &CaptureRequest) -> Result<Created, ProviderError> {
        let order = request.order;
        self.exchange("create", move |provider| {
            let mut books = provider.books.lock();
            books.charges_created += 1;
            let charge = format!("pi_{}", books.charges_created);
            books.created.insert(order, charge.clone());
            Ok(Created::Charge(charge))
        })
        .await
    }

    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome, ProviderError> {
        let mut request = request.clone();
        if self.mutation == Some(Mutation::FreshKeys) {
            request.idempotency_key = self.chance.below(u64::MAX).to_string();
        }
        self.exchange("capture", move |provider| provider.charge(&request)).await
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        let key = charge.charge.clone().unwrap_or_else(|| charge.idempotency_key.clone());
        self.exchange("find", move |provider| Ok(provider.books.lock().charges.get(&key).cloned())).await
    }

    async fn abandon(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>, ProviderError> {
        let Some(charge) = charge.charge.clone() else { return self.find(charge).await };
        let declined = ChargeOutcome::Declined { code: "payment_canceled".to_owned() };
        self.exchange("abandon", move |provider| {
            Ok(Some(provider.books.lock().charges.entry(charge).or_insert(declined).clone()))
        })
        .await
    }

    async fn report(&self, reference: &str) -> Result<Option<ChargeReport>, ProviderError> {
        let charge = reference.to_owned();
        self.exchange("report", move |provider| Ok(provider.books.lock().report(&charge))).await
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome, ProviderError> {
        let request = request.clone();
        self.exchange("refund", move |provider| Ok(provider.give_back(&request))).await
    }
}
