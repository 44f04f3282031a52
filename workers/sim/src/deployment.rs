//! Simulated parts of one run, and the view that each process has of them.

use std::{sync::Arc, time::Duration};

use base::{Ambient, Timestamp, ambient::Clock};
use jobs::Registry;
use store::{
    OrderStore,
    domain::EventKind,
    outbox::{Command, OutboxBody},
};
use store_memory::{MemoryOrders, MemoryPayments};
use tokio::time::Instant;
use webhooks::{UrlPolicy, WebhookSender, shares::ShareLimits};
use workers::{
    Env, Parts, WebhookDelivery, counts::PaymentCounts, mail::Mailer, provider::PaymentProvider as _,
};

use crate::{
    Mutation, chance::Chance, link::FaultyLink, outside::Outside, provider::SimProvider, queue::SimQueue,
    trace::Trace, watch::Watch,
};

/// Start of the clocks: 2026-01-01T00:00:00Z.
const START_MILLIS: i64 = 1_767_225_600_000;
/// Largest skew of a process's clock, ahead of the true time.
const SKEW_MAX: Duration = Duration::from_secs(2);
/// Largest difference between the clocks of a worker and of a provider that creates charges first: of those no outcome
/// may depend on a clock.
const PROVIDER_SKEW_MAX: Duration = Duration::from_mins(10);
/// Slots of webhooks that the processes share out to merchants.
const WEBHOOK_SLOTS: usize = 16;
const SENDER: &str = "Shop <orders@shop.example>";

pub(crate) struct Deployment {
    pub(crate) chance: Arc<Chance>,
    pub(crate) trace: Arc<Trace>,
    pub(crate) watch: Arc<Watch>,
    /// The true time, and ids.
    pub(crate) ambient: Ambient,
    /// Without faults, for set-up and audit.
    pub(crate) orders: MemoryOrders,
    pub(crate) payments: MemoryPayments,
    pub(crate) provider: SimProvider,
    pub(crate) outside: Arc<Outside>,
    pub(crate) queue: SimQueue,
    pub(crate) registry: Registry<Env>,
    mailer: Mailer,
    /// See [`Mutation::EndUnfound`].
    pub(crate) ends_unfound: bool,
    /// See [`Mutation::RefundAgain`].
    pub(crate) refunds_again: bool,
    /// Cloned by each customer and merchant with open requests.
    pub(crate) busy: Arc<()>,
    began: Instant,
}

/// Clock that follows the timers of the runtime, with a skew.
struct SimClock {
    began: Instant,
    skew: Duration,
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let millis = i64::try_from((self.began.elapsed() + self.skew).as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(START_MILLIS.saturating_add(millis)).unwrap_or(Timestamp::MAX)
    }
}

impl Deployment {
    /// To be called in a runtime with paused time.
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>, in_words: bool) -> Result<Self, String> {
        let began = Instant::now();
        let chance = Arc::new(Chance::new(seed));
        let trace = Arc::new(Trace::new(in_words));
        let watch = Arc::new(Watch::new(Arc::clone(&trace)));
        let ambient = Ambient::seeded(Arc::new(SimClock { began, skew: Duration::ZERO }), chance.fork());
        let outside = Arc::new(Outside::new(Arc::clone(&chance), Arc::clone(&trace)));
        let mut payments = MemoryPayments::new(watch.clone());
        if mutation == Some(Mutation::NoEpochCheck) {
            payments = payments.unfenced();
        }
        let provider = SimProvider::new(chance.clone(), trace.clone(), watch.clone(), mutation);
        let acks_first = mutation == Some(Mutation::AckBeforeWrite);
        let queue = SimQueue::new(chance.clone(), trace.clone(), watch.clone(), ambient.clone(), acks_first);
        let mut orders = MemoryOrders::new(ambient.clone(), watch.clone());
        if mutation == Some(Mutation::CountFailedRefunds) {
            orders = orders.counting_failed_refunds();
        }
        if mutation == Some(Mutation::SkipUnreadable) {
            orders = orders.forgetful();
        }
        Ok(Self {
            orders,
            payments,
            provider,
            mailer: Mailer::through(outside.clone(), SENDER).map_err(|error| error.to_string())?,
            registry: workers::registry().map_err(|error| error.to_string())?,
            ends_unfound: mutation == Some(Mutation::EndUnfound),
            refunds_again: mutation == Some(Mutation::RefundAgain),
            busy: Arc::default(),
            chance,
            trace,
            watch,
            ambient,
            outside,
            queue,
            began,
        })
    }

    /// Clock and generator of one process.
    pub(crate) fn process_ambient(&self) -> Ambient {
        self.ambient_ahead(SKEW_MAX)
    }

    fn ambient_ahead(&self, most: Duration) -> Ambient {
        let skew = if self.chance.one_in(2) { self.chance.up_to(most) } else { Duration::ZERO };
        Ambient::seeded(Arc::new(SimClock { began: self.began, skew }), self.chance.fork())
    }

    pub(crate) fn orders_of(&self, process: &str) -> Arc<dyn OrderStore> {
        Arc::new(self.orders.through(self.link(process)))
    }

    /// The order store as a process of an earlier release sees it, which knows neither some events nor refunds.
    pub(crate) fn orders_of_earlier(&self, process: &str) -> Arc<dyn OrderStore> {
        let is_later = |body: &OutboxBody| match body {
            OutboxBody::Event(event) => event.kind == EventKind::OrderPaid,
            OutboxBody::Command { command, .. } => matches!(command, Command::Refund { .. }),
            OutboxBody::Unreadable(_) => false,
        };
        Arc::new(self.orders.through(self.link(process)).before(is_later))
    }

    pub(crate) fn env(&self, process: &str) -> Env {
        let skew_max = if self.provider.creates_first() { PROVIDER_SKEW_MAX } else { SKEW_MAX };
        let ambient = self.ambient_ahead(skew_max);
        let policy = UrlPolicy { allow_loopback: false };
        let sender = WebhookSender::through(self.outside.clone(), policy);
        Env::new(Parts {
            orders: self.orders_of(process),
            payments: Arc::new(self.payments.through(self.link(process))),
            provider: Arc::new(self.provider.clone()),
            mailer: self.mailer.clone(),
            webhooks: WebhookDelivery::new(sender, ShareLimits::of_slots(WEBHOOK_SLOTS), ambient.clone()),
            payment_counts: PaymentCounts::default(),
            ambient,
            worker: process.to_owned(),
        })
    }

    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.busy) == 1
            && self.queue.is_empty()
            && self.orders.unsent() == 0
            && self.provider.is_idle()
    }

    fn link(&self, process: &str) -> Arc<FaultyLink> {
        let (chance, trace) = (Arc::clone(&self.chance), Arc::clone(&self.trace));
        Arc::new(FaultyLink { chance, trace, process: process.to_owned() })
    }
}
