//! The keeper of a process's limits: parks jobs, asks the store for slots and starts, renews, gives back.
//!
//! Guarantees: one call of each kind to the store for all keys that are due, at most every [`TICK`]; renewals at a
//! third of the lease; each call ends within a fifth of it. A job is noted as parked before it is snoozed: a crash in
//! between leaves a row that wakes nothing. While the store is away, jobs that wait are sent away, and it is asked
//! again with [`RETRY`]. An orderly stop gives everything back, for [`GIVE_BACK_MAX`] at most.

use std::{collections::HashSet, sync::Arc, time::Duration};

use base::time::later;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    PARKED_FOR,
    limiter::{Ask, LimitKey, Limiter, Parking},
    unparker::{QUEUE_MAX, Unparker},
};
use crate::{
    engine::{Admin, EngineError, Settlement},
    envelope::JobId,
    error::describe,
    job::Backoff,
    job_store::{GrantedStarts, LIMIT_KEYS_MAX, LeaseWant, LeasedSlots, ParkedJob, SharedLimits, StartsWant},
};

/// Least time between two turns: what comes meanwhile shares the next one.
const TICK: Duration = Duration::from_millis(20);
/// Longest time between two turns.
const TURN_EVERY: Duration = Duration::from_secs(1);
/// Delay between questions to a store that is away.
const RETRY: Backoff = Backoff::FullJitter { base: Duration::from_millis(400), cap: Duration::from_secs(2) };
/// Most jobs of a key made ready by one turn.
const UNPARK_MAX: u32 = 100;
/// Interval of deleting what has ended in the store.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);
/// Longest wait for the store at an orderly stop; what it does not get back ends by itself.
const GIVE_BACK_MAX: Duration = Duration::from_secs(2);

pub(crate) struct Keeper {
    limiter: Arc<Limiter>,
    store: Arc<dyn SharedLimits>,
    /// Name of this process among the holders of leases, never used before.
    holder: String,
    lease: Duration,
    unpark: mpsc::Sender<JobId>,
    _unparker: AbortOnDropHandle<()>,
    /// Turns in a row that failed; the first is logged.
    failures: u32,
    expire_at: Instant,
}

/// The answers for a key.
#[derive(Default)]
struct Answers {
    leased: Option<LeasedSlots>,
    granted: Option<GrantedStarts>,
}

impl Keeper {
    /// A keeper of leases of this length, for the process of this name.
    pub(crate) fn new(
        limiter: Arc<Limiter>,
        (store, engine): (Arc<dyn SharedLimits>, Arc<dyn Admin>),
        name: &str,
        lease: Duration,
    ) -> Self {
        let (unpark, jobs) = mpsc::channel(QUEUE_MAX);
        let unparker = AbortOnDropHandle::new(tokio::spawn(Unparker::new(engine, jobs).run()));
        let holder = format!("{name} {}", limiter.ambient().uuid());
        let expire_at = Instant::now() + EXPIRE_EVERY;
        Self { limiter, store, holder, lease, unpark, _unparker: unparker, failures: 0, expire_at }
    }

    /// Keeps the limits until `ended` is cancelled, then gives back what is held.
    pub(crate) async fn run(mut self, ended: CancellationToken) {
        loop {
            let (turned_at, turned) = (Instant::now(), self.turn().await);
            self.tell(turned.as_ref().err().map(String::as_str));
            let pause =
                if self.failures == 0 { TICK } else { RETRY.delay(self.failures, self.limiter.ambient()) };
            let next = self.limiter.next_due().unwrap_or(turned_at + TURN_EVERY);
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                () = self.pause(turned_at + pause, next) => {}
            }
        }
        // With its error: what is left ends with its lease.
        let _ = timeout(GIVE_BACK_MAX, self.give_back()).await;
    }

    /// Waits for a need or the next time, and in any case until `earliest`.
    async fn pause(&self, earliest: Instant, next: Instant) {
        sleep_until(earliest).await;
        tokio::select! {
            () = self.limiter.needed() => {}
            () = sleep_until(next.min(earliest + TURN_EVERY)) => {}
        }
    }

    /// Does what is due.
    async fn turn(&mut self) -> Result<(), String> {
        let parked = self.park().await;
        let due = self.limiter.due();
        if !due.unused.is_empty() {
            // With its error: those starts count until their period is over.
            let _ = self.call(self.store.return_starts(due.unused)).await;
        }
        if !due.asks.is_empty() {
            self.ask(due.asks).await?;
        }
        if Instant::now() >= self.expire_at {
            self.expire_at = Instant::now() + EXPIRE_EVERY;
            self.call(self.store.expire_limits()).await?;
        }
        parked
    }

    /// Notes jobs as parked, then snoozes them; for a short time, if they cannot be noted.
    async fn park(&self) -> Result<(), String> {
        let parking = self.limiter.parking();
        if parking.is_empty() {
            return Ok(());
        }
        let ambient = self.limiter.ambient();
        let spans: Vec<Duration> =
            parking.iter().map(|_| PARKED_FOR + ambient.jitter(PARKED_FOR / 2)).collect();
        let row = |(parking, comes_in): (&Parking, &Duration)| ParkedJob {
            limit: parking.key.limit.name().to_owned(),
            key: parking.key.key.to_string(),
            job: parking.receipt.job,
            comes_in: *comes_in,
        };
        let mut seen = HashSet::new();
        let rows = parking.iter().zip(&spans).map(row).filter(|row| seen.insert(row.job)).collect();
        let noted = self.call(self.store.park(rows)).await;
        for (parking, comes_in) in parking.iter().zip(spans) {
            let at = match noted {
                Ok(()) => later(ambient.now(), comes_in),
                Err(_) => self.limiter.away_until(),
            };
            let (limit, noted) = (parking.key.limit.name(), noted.is_ok());
            tracing::debug!(job.id = %parking.receipt.job, limit, noted, "job snoozed, limit full");
            parking.settler.settle(parking.receipt, Settlement::Snooze { at });
        }
        self.limiter.watch(parking.iter().map(|parking| &parking.key));
        noted
    }

    /// Asks for slots and starts, and has parked jobs made ready where either are free.
    async fn ask(&mut self, asks: Vec<Ask>) -> Result<(), String> {
        let answers = match self.answers(&asks).await {
            Ok(answers) => answers,
            Err(error) => {
                self.limiter.unanswered(asks.iter().map(|ask| &ask.key), Instant::now() + TICK);
                return Err(error);
            }
        };
        let asks: Vec<_> = asks.into_iter().zip(&answers).map(|(ask, got)| (ask, got.free_in())).collect();
        self.limiter.answered(&asks, self.lease / 3);
        // Bounded, as leases are to be renewed; the rest is found by the next questions.
        let until = Instant::now() + self.lease / 5;
        for ((ask, _), answers) in asks.iter().zip(&answers) {
            if answers.free() > 0 && Instant::now() < until {
                self.unpark(&ask.key, answers.free()).await?;
            }
        }
        Ok(())
    }

    async fn answers(&self, asks: &[Ask]) -> Result<Vec<Answers>, String> {
        let mut answers: Vec<Answers> = asks.iter().map(|_| Answers::default()).collect();
        let slots: Vec<_> = asks.iter().enumerate().filter_map(lease_want).collect();
        if !slots.is_empty() {
            let end = self.limiter.now().after(self.lease);
            let (places, wants): (Vec<usize>, Vec<LeaseWant>) = slots.into_iter().unzip();
            let leased = self.call(self.store.lease(&self.holder, wants, self.lease)).await?;
            for (place, leased) in places.into_iter().zip(leased) {
                self.limiter.leased(&asks[place], leased, end);
                answers[place].leased = Some(leased);
            }
        }
        let starts: Vec<_> = asks.iter().enumerate().filter_map(starts_want).collect();
        if !starts.is_empty() {
            let sent = self.limiter.now();
            let (places, wants): (Vec<usize>, Vec<StartsWant>) = starts.into_iter().unzip();
            let granted = self.call(self.store.starts(wants)).await?;
            for (place, granted) in places.into_iter().zip(granted) {
                self.limiter.granted(&asks[place], granted, sent);
                answers[place].granted = Some(granted);
            }
        }
        Ok(answers)
    }

    /// Has the jobs made ready that were parked first at a key. Those that get no slot are parked again.
    async fn unpark(&self, key: &LimitKey, free: u32) -> Result<(), String> {
        let jobs = self.store.unpark(key.limit.name(), &key.key, free.min(UNPARK_MAX));
        for job in self.call(jobs).await? {
            if self.unpark.try_send(job).is_err() {
                tracing::debug!(job.id = %job, "parked job not made ready, comes when its snooze ends");
            }
        }
        Ok(())
    }

    async fn give_back(&self) -> Result<(), EngineError> {
        let (leased, unused) = self.limiter.take_all();
        for keys in leased.chunks(LIMIT_KEYS_MAX) {
            let want = |key: &LimitKey| LeaseWant {
                limit: key.limit.name().to_owned(),
                key: key.key.to_string(),
                slots: 0,
                max: 0,
            };
            self.store.lease(&self.holder, keys.iter().map(want).collect(), self.lease).await?;
        }
        if unused.is_empty() { Ok(()) } else { self.store.return_starts(unused).await }
    }

    /// The result of a call, or why there is none.
    async fn call<T>(&self, call: impl Future<Output = Result<T, EngineError>>) -> Result<T, String> {
        match timeout(self.lease / 5, call).await {
            Ok(result) => result.map_err(|error| describe(&error)),
            Err(_) => Err("no result in time".to_owned()),
        }
    }

    fn tell(&mut self, error: Option<&str>) {
        let Some(error) = error else {
            if std::mem::take(&mut self.failures) > 0 {
                tracing::info!("limits of jobs kept again");
            }
            return;
        };
        if self.failures == 0 {
            tracing::warn!(error, "store of limits unavailable, jobs with a limit wait");
        }
        self.failures = self.failures.saturating_add(1);
    }
}

impl Answers {
    /// Time in which starts become free for which jobs are parked.
    fn free_in(&self) -> Option<Duration> {
        let granted = self.granted.filter(|granted| granted.parked && !granted.free_in.is_zero())?;
        Some(granted.free_in)
    }

    /// Parked jobs that may start now.
    fn free(&self) -> u32 {
        let slots = self.leased.map(|leased| if leased.parked { leased.free } else { 0 });
        let starts = self.granted.map(|granted| if granted.parked { granted.free } else { 0 });
        match (slots, starts) {
            (Some(slots), Some(starts)) => slots.min(starts),
            (one, other) => one.or(other).unwrap_or(0),
        }
    }
}

/// The question for slots, with its place; `None` for a limit without.
fn lease_want((place, ask): (usize, &Ask)) -> Option<(usize, LeaseWant)> {
    let LimitKey { limit, key } = &ask.key;
    let max = limit.at_once()?;
    let (limit, key) = (limit.name().to_owned(), key.to_string());
    Some((place, LeaseWant { limit, key, slots: ask.wants.slots, max }))
}

/// The question for starts, with its place; `None` for a limit without.
fn starts_want((place, ask): (usize, &Ask)) -> Option<(usize, StartsWant)> {
    let LimitKey { limit, key } = &ask.key;
    let rate = limit.starts()?;
    let (limit, key) = (limit.name().to_owned(), key.to_string());
    Some((place, StartsWant { limit, key, starts: ask.wants.starts, max: rate.starts, per: rate.per }))
}
