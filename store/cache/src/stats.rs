//! Counts of reads, by the kind of what is read.

use std::{
    iter::Sum,
    sync::atomic::{AtomicU64, Ordering},
};

/// What the values of a family are; reads are counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheKind {
    /// One object, such as a product or a customer's profile.
    Data,
    /// The result of a query, such as a list, a search or counts.
    Query,
    /// A version that keys of other values hold, so that a new one invalidates all of them.
    Version,
}

impl CacheKind {
    pub const ALL: [Self; 3] = [Self::Data, Self::Query, Self::Version];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Query => "query",
            Self::Version => "version",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Data => 0,
            Self::Query => 1,
            Self::Version => 2,
        }
    }
}

/// Counts of reads since the start, by the level that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Answered by this process.
    pub local_hits: u64,
    /// Answered by the shared level.
    pub shared_hits: u64,
    /// Answered by a loader.
    pub loads: u64,
}

impl Sum for CacheStats {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, counts| Self {
            local_hits: sum.local_hits + counts.local_hits,
            shared_hits: sum.shared_hits + counts.shared_hits,
            loads: sum.loads + counts.loads,
        })
    }
}

/// A count of each kind.
#[derive(Debug, Default)]
pub(crate) struct CountByKind([AtomicU64; CacheKind::ALL.len()]);

impl CountByKind {
    pub(crate) fn add(&self, kind: CacheKind) {
        self.0[kind.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn of(&self, kind: CacheKind) -> u64 {
        self.0[kind.index()].load(Ordering::Relaxed)
    }
}
