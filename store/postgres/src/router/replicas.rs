//! Streaming replicas of a primary: the choice of one for a read.
//!
//! Guarantees: a replica is read only while its lag is known to be within the limit and it has every write that the
//! read depends on. Of several, the one with the fewest reads in flight is taken, then the one that is least behind. If
//! the replica does not find a row, fails, or becomes unavailable during the read, there is no answer, and the primary
//! is to be asked. An unavailable replica costs only its capacity, and is used again without intervention.
//!
//! [`super::probe`] measures the lag, [`super::read_your_writes`] knows the writes.

use std::{
    cmp::Reverse,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use base::{
    Ambient,
    postgres::{Database, OpenError},
};
use tokio::{sync::watch, task::AbortHandle, time::Instant};

use super::{
    config::DatabaseConfig,
    probe::{Probe, Standby},
};
use crate::fault::PostgresFault;

/// The replicas of a primary; none where it has none.
#[derive(Default)]
pub(super) struct ReplicaSet {
    replicas: Vec<Replica>,
    lag_max: Duration,
    counts: Counts,
}

struct Replica {
    standby: watch::Receiver<Option<Standby>>,
    /// Reads of this process.
    in_flight: AtomicUsize,
    probe: AbortHandle,
}

#[derive(Default)]
struct Counts {
    replica: AtomicU64,
    primary: AtomicU64,
    repeated: AtomicU64,
}

/// Counts since the start of reads that a replica may answer, by the server that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadStats {
    pub replica: u64,
    pub primary: u64,
    /// Answered by a primary after a replica failed to.
    pub repeated: u64,
}

impl ReplicaSet {
    /// Follows the replicas of a database. Waits for none: until a replica is known to have caught up, it is not read.
    /// Fails only for an address that cannot be parsed.
    pub(super) fn follow(config: &DatabaseConfig, ambient: &Ambient) -> Result<Self, OpenError> {
        let follow = |replica| Probe::new(config, replica, ambient.clone()).map(Replica::follow);
        let replicas = config.replicas.iter().map(follow).collect::<Result<_, _>>()?;
        Ok(Self { replicas, lag_max: config.lag_max, counts: Counts::default() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    /// The time until which the last of the replicas is complete; `None` when that of one is unknown.
    pub(super) fn fresh_until(&self) -> Option<Instant> {
        let times: Option<Vec<_>> = self.replicas.iter().map(Replica::fresh_until).collect();
        times?.into_iter().min()
    }

    pub(super) fn add_to(&self, stats: &mut ReadStats) {
        stats.replica += self.counts.replica.load(Ordering::Relaxed);
        stats.primary += self.counts.primary.load(Ordering::Relaxed);
        stats.repeated += self.counts.repeated.load(Ordering::Relaxed);
    }

    /// The answer of a replica that is complete until a time which `is_fresh`; `None` when the primary is to be asked.
    /// `is_missing` tells an answer that may be due to the replica's lag.
    pub(super) async fn read<T, F>(
        &self,
        is_fresh: impl Fn(Instant) -> bool,
        ask: impl Fn(Database) -> F,
        is_missing: impl Fn(&T) -> bool,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, PostgresFault>>,
    {
        if let Some((replica, standby)) = self.choose(is_fresh) {
            let _reading = Reading::new(&replica.in_flight);
            match replica.unless_away(standby.session, ask(standby.database)).await {
                Some(Ok(answer)) if !is_missing(&answer) => {
                    self.counts.replica.fetch_add(1, Ordering::Relaxed);
                    return Some(answer);
                }
                Some(Err(error)) => tracing::debug!(%error, "replica read failed: asking the primary"),
                _ => {}
            }
            self.counts.repeated.fetch_add(1, Ordering::Relaxed);
        }
        self.counts.primary.fetch_add(1, Ordering::Relaxed);
        None
    }

    fn choose(&self, is_fresh: impl Fn(Instant) -> bool) -> Option<(&Replica, Standby)> {
        let usable = self.replicas.iter().filter_map(|replica| {
            let fresh_until = replica.fresh_until()?;
            (fresh_until.elapsed() <= self.lag_max && is_fresh(fresh_until)).then_some((replica, fresh_until))
        });
        let (chosen, _) = usable.min_by_key(|(replica, fresh_until)| {
            (replica.in_flight.load(Ordering::Relaxed), Reverse(*fresh_until))
        })?;
        // Away since it was looked at: the primary answers.
        let standby = chosen.standby.borrow().clone();
        Some((chosen, standby?))
    }
}

impl Replica {
    fn follow(probe: Probe) -> Self {
        let (publish, standby) = watch::channel(None);
        let probe = tokio::spawn(probe.run(publish)).abort_handle();
        Self { standby, in_flight: AtomicUsize::new(0), probe }
    }

    fn fresh_until(&self) -> Option<Instant> {
        self.standby.borrow().as_ref()?.fresh_until
    }

    /// The answer, or `None` as soon as the replica is found to be unavailable: a half-open TCP connection never
    /// returns.
    async fn unless_away<T>(&self, session: u64, answer: impl Future<Output = T>) -> Option<T> {
        let mut standby = self.standby.clone();
        let gone =
            standby.wait_for(|standby| standby.as_ref().is_none_or(|standby| standby.session != session));
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            _ = gone => None,
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.probe.abort();
    }
}

struct Reading<'a>(&'a AtomicUsize);

impl<'a> Reading<'a> {
    fn new(in_flight: &'a AtomicUsize) -> Self {
        in_flight.fetch_add(1, Ordering::Relaxed);
        Self(in_flight)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
