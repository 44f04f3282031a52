//! Faults and their rates: everything is drawn from one generator that the seed starts.
//!
//! Each seed has its own mix of faults, most of them absent: a run in which everything fails at once explores less than
//! one with two kinds of faults ("swarm testing", Groce et al., ISSTA 2012).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InjectedFault {
    /// A store never gets the request.
    StoreRequestLost,
    /// A store executes the request, its answer is lost.
    StoreAnswerLost,
    /// A store executes the request after the caller has given up.
    StoreLate,
    /// A store takes seconds.
    StoreSlow,
    /// A store does not find a record by its id.
    StoreAstray,
    /// The provider says that it cannot work now.
    ProviderBusy,
    /// The provider never gets the request.
    ProviderRequestLost,
    /// The provider executes the request, its answer is lost.
    ProviderAnswerLost,
    /// The provider takes longer than its callers wait.
    ProviderSlow,
    /// The provider refuses a refund for good, at most once for an order.
    RefundRefused,
    /// A part of a charge is refunded in the provider's dashboard.
    RefundByHand,
    /// A charge is disputed: nothing of it goes back before the dispute is won.
    Dispute,
    MailBusy,
    /// The mail server took the mail, its answer is lost.
    MailAnswerLost,
    HookFails,
    /// A merchant's receiver took the event, its answer is lost.
    HookAnswerLost,
    /// The queue never gets the published messages.
    PublishLost,
    /// The queue keeps some or all of the published messages, and does not answer.
    PublishUnconfirmed,
    /// The queue keeps a job twice.
    JobDoubled,
    /// A job waits for seconds for no reason.
    JobDelayed,
    /// The queue never gets an outcome.
    OutcomeLost,
    /// The queue stores a retry and forgets that the run before it has ended.
    RetryDoubled,
    /// The queue takes a live consumer for lost, and delivers its job to another.
    LeaseLost,
}

const FAULTS: usize = InjectedFault::LeaseLost as usize + 1;
/// Rates of faults, per thousand.
const RATES: [u64; 4] = [5, 20, 60, 150];
/// Longest lifetimes of processes.
const LIVES: [Duration; 3] = [Duration::from_mins(1), Duration::from_secs(16), Duration::from_secs(4)];
/// Longest latencies of a message.
const WAYS: [Duration; 4] = [
    Duration::from_millis(4),
    Duration::from_millis(4),
    Duration::from_millis(50),
    Duration::from_millis(400),
];

/// The single source of randomness of a run.
pub(crate) struct Chance {
    rng: Mutex<fastrand::Rng>,
    /// Rates per thousand, by fault.
    rates: [u64; FAULTS],
    life: Option<Duration>,
    way: Duration,
    calm: AtomicBool,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rates = [0; FAULTS];
        let quiet = rng.u64(0..10) == 0;
        for rate in rates.iter_mut().filter(|_| !quiet) {
            if rng.u64(0..10) < 4 {
                *rate = RATES[rng.usize(0..RATES.len())];
            }
        }
        let life = (!quiet && rng.bool()).then(|| LIVES[rng.usize(0..LIVES.len())]);
        let way = WAYS[rng.usize(0..WAYS.len())];
        Self { rng: Mutex::new(rng), rates, life, way, calm: AtomicBool::new(false) }
    }

    pub(crate) fn happens(&self, fault: InjectedFault) -> bool {
        let rate = self.rates[fault as usize];
        rate > 0 && !self.is_calm() && self.below(1000) < rate
    }

    /// Lifetime of a process that starts now; `None`: unlimited.
    pub(crate) fn life(&self) -> Option<Duration> {
        let life = self.life.filter(|_| !self.is_calm())?;
        Some(self.some_time(life))
    }

    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.draw(|rng| rng.u64(0..bound.max(1)))
    }

    pub(crate) fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A random index below `among`.
    pub(crate) fn place(&self, among: usize) -> usize {
        usize::try_from(self.below(among as u64)).unwrap_or(0)
    }

    pub(crate) fn pick<'a, T>(&self, among: &'a [T]) -> &'a T {
        &among[self.place(among.len())]
    }

    /// A duration up to `longest`, in whole milliseconds: the resolution of timers.
    pub(crate) fn up_to(&self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.below(millis.saturating_add(1)))
    }

    /// A duration up to `longest`, of any magnitude: a few milliseconds are as likely as a good part of it.
    pub(crate) fn some_time(&self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).max(1);
        let magnitudes = u64::from(millis.ilog2()) + 1;
        self.up_to(longest / (1 << self.below(magnitudes).min(31)))
    }

    /// Latency of a message from one process to another.
    pub(crate) fn travel(&self) -> Duration {
        self.up_to(self.way)
    }

    /// A new generator, seeded from this one.
    pub(crate) fn fork(&self) -> fastrand::Rng {
        self.draw(fastrand::Rng::fork)
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.rng.lock())
    }
}

/// Sleeps; a zero duration only yields, as a timer would wait a tick.
pub(crate) async fn pause(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}
