//! Reads from a streaming replica, writes to the primary.
//!
//! Guarantees: every write goes to the primary, and so does every read on which a decision depends (reads by workers
//! and relays, of API keys, and of data that an arrival announced). A read for a merchant goes to the replica only
//! while the replica's lag is known to be within the limit, and the replica has every write for that merchant that
//! *this process* answered before the read began (read your writes). If the replica does not find a row, fails, or
//! becomes unavailable during the read, the read is repeated on the primary. An unavailable replica costs only its
//! capacity, and is used again without intervention.
//!
//! Across processes, only the limit is promised: a read may miss another process's write for that long.
//! `docs/POSTGRES.md` says what to do where that is too much.
//!
//! Start with [`ReplicatedOrders::read`]; `routes` has the destination of each call, `probe` measures the replica's
//! lag.

mod probe;
mod read_your_writes;
mod routes;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base::{
    Ambient,
    ids::Uuid,
    postgres::{OpenError, PostgresConfig},
};
use tokio::{sync::watch, task::AbortHandle};

use self::{
    probe::{Probe, Standby},
    read_your_writes::RecentWrites,
};
use super::PostgresOrders;
use crate::error::StoreError;

/// An order store over a primary and a replica of it. Clones share the connections.
#[derive(Clone)]
pub struct ReplicatedOrders {
    primary: PostgresOrders,
    shared: Arc<ReplicatedShared>,
}

struct ReplicatedShared {
    standby: watch::Receiver<Option<Standby>>,
    lag_max: Duration,
    written: RecentWrites,
    counts: Counts,
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
    /// Answered by the replica.
    pub replica: u64,
    /// Answered by the primary.
    pub primary: u64,
    /// Answered by the primary after the replica failed to.
    pub repeated: u64,
}

impl ReplicatedOrders {
    /// Adds the replica at `replica` to the store over `primary`. Waits for neither: until the replica is known to have
    /// caught up, reads go to the primary. Fails only for an address that cannot be parsed.
    pub fn new(
        store: PostgresOrders,
        primary: &PostgresConfig,
        replica: PostgresConfig,
        lag_max: Duration,
        ambient: Ambient,
    ) -> Result<Self, OpenError> {
        let probe = Probe::new(primary, replica, lag_max, ambient)?;
        let (publish, standby) = watch::channel(None);
        let probe = tokio::spawn(probe.run(publish)).abort_handle();
        let (written, counts) = (RecentWrites::default(), Counts::default());
        Ok(Self {
            primary: store,
            shared: Arc::new(ReplicatedShared { standby, lag_max, written, counts, probe }),
        })
    }

    /// Upper bound of the replica's lag; `None` when the replica is unavailable or its lag is not known yet.
    pub fn lag(&self) -> Option<Duration> {
        Some(self.shared.standby.borrow().as_ref()?.fresh_until?.elapsed())
    }

    /// Counts of reads since the start.
    pub fn read_stats(&self) -> ReadStats {
        let counts = &self.shared.counts;
        ReadStats {
            replica: counts.replica.load(Ordering::Relaxed),
            primary: counts.primary.load(Ordering::Relaxed),
            repeated: counts.repeated.load(Ordering::Relaxed),
        }
    }

    /// Reads from the replica if it has every write under `key`, else from the primary. `is_missing` tells an answer
    /// that may be due to the replica's lag.
    async fn read<T, R, P>(
        &self,
        key: Uuid,
        replica: impl FnOnce(PostgresOrders) -> R,
        primary: P,
        is_missing: impl Fn(&T) -> bool,
    ) -> Result<T, StoreError>
    where
        R: Future<Output = Result<T, StoreError>>,
        P: Future<Output = Result<T, StoreError>>,
    {
        let counts = &self.shared.counts;
        if let Some((store, session)) = self.replica_for(key) {
            match self.unless_away(session, replica(store)).await {
                Some(Ok(answer)) if !is_missing(&answer) => {
                    counts.replica.fetch_add(1, Ordering::Relaxed);
                    return Ok(answer);
                }
                Some(Err(error)) => tracing::debug!(%error, "replica read failed: asking the primary"),
                _ => {}
            }
            counts.repeated.fetch_add(1, Ordering::Relaxed);
        }
        counts.primary.fetch_add(1, Ordering::Relaxed);
        primary.await
    }

    /// Runs a write and records its end under `key`, also when it fails or is dropped, as it may have been committed.
    async fn write<T>(&self, key: Uuid, write: impl Future<Output = T>) -> T {
        let _noted = Noted { shared: &self.shared, key };
        write.await
    }

    fn replica_for(&self, key: Uuid) -> Option<(PostgresOrders, u64)> {
        let standby = self.shared.standby.borrow();
        let Standby { store, session, fresh_until } = standby.as_ref()?;
        let fresh_until = (*fresh_until)?;
        let may =
            fresh_until.elapsed() <= self.shared.lag_max && self.shared.written.is_before(key, fresh_until);
        may.then(|| (store.clone(), *session))
    }

    /// The answer, or `None` as soon as the replica is found to be unavailable: a half-open TCP connection never
    /// returns.
    async fn unless_away<T>(&self, session: u64, answer: impl Future<Output = T>) -> Option<T> {
        let mut standby = self.shared.standby.clone();
        let gone =
            standby.wait_for(|standby| standby.as_ref().is_none_or(|standby| standby.session != session));
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            _ = gone => None,
        }
    }
}

impl ReplicatedShared {
    /// Records the end of a write under `key`.
    fn note(&self, key: Uuid) {
        let fresh_until = self.standby.borrow().as_ref().and_then(|standby| standby.fresh_until);
        self.written.mark(key, fresh_until);
    }
}

impl Drop for ReplicatedShared {
    fn drop(&mut self) {
        self.probe.abort();
    }
}

/// Write guard: on drop it records the end of the write.
struct Noted<'a> {
    shared: &'a ReplicatedShared,
    key: Uuid,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.shared.note(self.key);
    }
}
