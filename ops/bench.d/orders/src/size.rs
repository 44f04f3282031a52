//! Counts of a run, and the load of each measurement.

/// Concurrent callers of the API.
pub(crate) const CALLERS: usize = 32;
/// Connections to PostgreSQL, of the API and of `pgbench`: the default of `postgres.api_connections`.
pub(crate) const CONNECTIONS: usize = 10;

/// Rounds, and orders of each measurement.
pub(crate) struct Size {
    pub(crate) rounds: usize,
    pub(crate) accepted: usize,
    pub(crate) whole: usize,
    pub(crate) warm: usize,
}

pub(crate) const FULL: Size = Size { rounds: 5, accepted: 6_000, whole: 3_000, warm: 600 };
pub(crate) const QUICK: Size = Size { rounds: 1, accepted: 500, whole: 200, warm: 50 };
