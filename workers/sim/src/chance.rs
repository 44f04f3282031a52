//! What goes wrong, and how likely: everything drawn from one generator that the seed started.
//!
//! Each seed has its own mix of faults, most of them absent: a run in which everything fails at once explores less than
//! one in which two things do ("swarm testing", Groce et al., ISSTA 2012).

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InjectedFault {
    /// A store never gets the request.
    StoreRequestLost,
    /// A store did it, its answer is lost.
    StoreAnswerLost,
    /// A store does it when the caller has given up.
    StoreLate,
    /// A store takes seconds.
    StoreSlow,
    /// The provider says that it cannot work now.
    ProviderBusy,
    /// The provider never gets the request.
    ProviderRequestLost,
    /// The provider did it, its answer is lost.
    ProviderAnswerLost,
    /// The provider takes longer than anybody waits.
    ProviderSlow,
    /// The mail server is busy.
    MailBusy,
    /// The mail server took the mail, its answer is lost.
    MailAnswerLost,
    /// A merchant's receiver fails.
    HookFails,
    /// A merchant's receiver took the event, its answer is lost.
    HookAnswerLost,
    /// The queue never gets what is published.
    PublishLost,
    /// The queue keeps a part or all of what is published, and does not answer.
    PublishUnconfirmed,
    /// The queue keeps a job twice.
    JobDoubled,
    /// A job waits for seconds for no reason.
    JobDelayed,
    /// The queue never gets an outcome.
    OutcomeLost,
    /// The queue stores a retry and forgets that the run before it has ended.
    RetryDoubled,
    /// The queue takes a consumer for lost that is alive, and hands its job to another.
    LeaseLost,
}

const FAULTS: usize = InjectedFault::LeaseLost as usize + 1;
/// Per thousand.
const RATES: [u64; 4] = [5, 20, 60, 150];
/// How long processes live at most.
const LIVES: [Duration; 3] = [Duration::from_mins(1), Duration::from_secs(16), Duration::from_secs(4)];
/// How long a message is on its way at most.
const WAYS: [Duration; 4] = [
    Duration::from_millis(4),
    Duration::from_millis(4),
    Duration::from_millis(50),
    Duration::from_millis(400),
];

/// The one source of chance of a run.
pub(crate) struct Chance {
    rng: Mutex<fastrand::Rng>,
    /// Per thousand, by fault.
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

    /// Whether it happens this time.
    pub(crate) fn happens(&self, fault: InjectedFault) -> bool {
        let rate = self.rates[fault as usize];
        rate > 0 && !self.is_calm() && self.below(1000) < rate
    }

    /// How long a process that starts now will live.
    pub(crate) fn life(&self) -> Option<Duration> {
        let life = self.life.filter(|_| !self.is_calm())?;
        Some(self.some_time(life))
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.draw(|rng| rng.u64(0..bound.max(1)))
    }

    /// Once in `times` times.
    pub(crate) fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A place among so many.
    pub(crate) fn place(&self, among: usize) -> usize {
        usize::try_from(self.below(among as u64)).unwrap_or(0)
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&self, among: &'a [T]) -> &'a T {
        &among[self.place(among.len())]
    }

    /// Whole milliseconds, which is what timers know.
    pub(crate) fn up_to(&self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.below(millis.saturating_add(1)))
    }

    /// A time of any magnitude: as likely a few milliseconds as a good part of the longest.
    pub(crate) fn some_time(&self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).max(1);
        let magnitudes = u64::from(millis.ilog2()) + 1;
        self.up_to(longest / (1 << self.below(magnitudes).min(31)))
    }

    /// A message's way from one process to another.
    pub(crate) fn travel(&self) -> Duration {
        self.up_to(self.way)
    }

    /// Starts another generator.
    pub(crate) fn fork(&self) -> fastrand::Rng {
        self.draw(fastrand::Rng::fork)
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Waits; not at all for no time, as a timer would wait a tick.
pub(crate) async fn pause(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}
