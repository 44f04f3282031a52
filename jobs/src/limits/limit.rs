//! The numbers of a limit, and the function that takes its key from a job.

use std::{sync::Arc, time::Duration};

use crate::engine::is_name;

/// Most jobs of one key at a time that a limit can allow.
pub const CONCURRENT_MAX: u32 = 10_000;
/// Most starts in a period that a limit can allow.
pub const STARTS_MAX: u32 = 1_000_000;
/// Longest period of a rate.
pub const PERIOD_MAX: Duration = Duration::from_hours(1);
/// Shortest period of a rate; stores count milliseconds.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// How many jobs with one key run at a time, how many start in a period, or both; over all worker processes.
///
/// ```
/// use {orderworks_jobs::limits::Limit, std::time::Duration};
/// let at_once = Limit::concurrent("provider_account", 5)?;
/// let paced = Limit::rate("newsletter", 100, Duration::from_secs(1))?;
/// # Ok::<(), orderworks_jobs::limits::LimitError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    name: String,
    concurrent: Option<u32>,
    rate: Option<Rate>,
}

/// Starts in any period of this length.
#[expect(missing_docs, reason = "a line that repeats a name tells nothing")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    pub starts: u32,
    pub per: Duration,
}

/// Reason for which there is no such limit.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    #[error("name of a limit `{0}`: use [a-z0-9_]{{1,60}}")]
    BadName(String),
    #[error("limit `{0}` limits nothing; name a number of jobs at a time, a rate, or both")]
    Nothing(String),
    #[error("limit `{name}` allows {concurrent} jobs at a time; use 1 to {max}", max = CONCURRENT_MAX)]
    Concurrent { name: String, concurrent: u32 },
    #[error("limit `{name}` allows {starts} starts in a period; use 1 to {max}", max = STARTS_MAX)]
    Starts { name: String, starts: u32 },
    #[error("limit `{name}` has a period of {per:?}; use 1 ms to {max:?}", max = PERIOD_MAX)]
    Period { name: String, per: Duration },
}

impl Limit {
    /// A limit of jobs at a time, of starts in a period, or of both; processes must agree on the numbers of a name.
    ///
    /// # Errors
    /// A name other than `[a-z0-9_]{1,60}`, a number of zero or above [`CONCURRENT_MAX`] or [`STARTS_MAX`], a period
    /// under a millisecond or over [`PERIOD_MAX`], or neither number.
    pub fn new(
        name: impl Into<String>,
        concurrent: Option<u32>,
        rate: Option<Rate>,
    ) -> Result<Self, LimitError> {
        let name = name.into();
        if !is_name(&name) {
            return Err(LimitError::BadName(name));
        }
        if concurrent.is_none() && rate.is_none() {
            return Err(LimitError::Nothing(name));
        }
        if let Some(concurrent) = concurrent.filter(|most| !(1..=CONCURRENT_MAX).contains(most)) {
            return Err(LimitError::Concurrent { name, concurrent });
        }
        if let Some(Rate { starts, per }) = rate {
            if !(1..=STARTS_MAX).contains(&starts) {
                return Err(LimitError::Starts { name, starts });
            }
            if !(PERIOD_MIN..=PERIOD_MAX).contains(&per) {
                return Err(LimitError::Period { name, per });
            }
        }
        Ok(Self { name, concurrent, rate })
    }

    /// A limit of jobs at a time.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn concurrent(name: impl Into<String>, most: u32) -> Result<Self, LimitError> {
        Self::new(name, Some(most), None)
    }

    /// A limit of starts in any period of this length.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn rate(name: impl Into<String>, starts: u32, per: Duration) -> Result<Self, LimitError> {
        Self::new(name, None, Some(Rate { starts, per }))
    }

    /// The name that processes share.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn at_once(&self) -> Option<u32> {
        self.concurrent
    }

    pub(super) fn starts(&self) -> Option<Rate> {
        self.rate
    }
}

/// Key of a payload of a version; `None` for a job without a limit, and for a payload that does not decode, whose run
/// then fails in order.
pub(crate) type KeyFn = Arc<dyn Fn(u16, &str) -> Option<String> + Send + Sync>;

/// The limit of a kind.
#[derive(Clone)]
pub(crate) struct KindLimit {
    pub(crate) limit: Arc<Limit>,
    pub(crate) key: KeyFn,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_bounds() {
        let second = Duration::from_secs(1);
        assert!(Limit::concurrent("a_1", 1).is_ok() && Limit::concurrent("a", CONCURRENT_MAX).is_ok());
        assert!(Limit::new("a", Some(2), Some(Rate { starts: 1, per: PERIOD_MAX })).is_ok());
        for (refused, told) in [
            (Limit::concurrent("A", 1), "`A`"),
            (Limit::concurrent("a", 0), "allows 0 jobs"),
            (Limit::concurrent("a", CONCURRENT_MAX + 1), "allows 10001 jobs"),
            (Limit::new("a", None, None), "limits nothing"),
            (Limit::rate("a", 0, second), "allows 0 starts"),
            (Limit::rate("a", STARTS_MAX + 1, second), "allows 1000001 starts"),
            (Limit::rate("a", 1, Duration::ZERO), "a period of 0ns"),
            (Limit::rate("a", 1, PERIOD_MAX + second), "a period of 3601s"),
        ] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
