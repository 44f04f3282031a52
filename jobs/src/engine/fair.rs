//! Weights of the keys of a fair queue.
//!
//! Start-time fair queueing: each key has a clock of its own, which a job moves on by one unit over the weight of the
//! key, and jobs start in the order of these clocks. A key that had nothing waiting begins at the clock of the queue,
//! so a share that was not used is not saved up. Engines keep the clocks, see `docs/adr/0023-fair-share.md`.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::EngineError;

/// Virtual length of a job whose key has weight one. The migrations of the queue file repeat the number.
pub(crate) const FAIR_UNIT: i64 = 1_000_000;
/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 512;
/// Waiting jobs of a queue that [`Admin::fair_keys`](super::Admin::fair_keys) counts: those with the first turns, so
/// that a key with few of them is not left out. It bounds what a look costs however long the backlog is.
pub const FAIR_COUNTED_MAX: u32 = 50_000;

/// A key of a fair queue that has jobs waiting for their turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FairKey {
    /// The [fair key](crate::Job::fair_key); `""` for jobs without one.
    pub key: String,
    /// Its weight, see [`Weights`].
    pub weight: u32,
    /// How many of its jobs are among the [`FAIR_COUNTED_MAX`] that have the first turns.
    pub waiting: u64,
}

/// Keys with their weights, from counts by key and the weights that are not one.
pub(crate) fn with_weights(counts: Vec<(String, i64)>, weights: &HashMap<String, i64>) -> Vec<FairKey> {
    let keys = counts.into_iter().map(|(key, waiting)| {
        let weight = weights.get(&key).and_then(|weight| u32::try_from(*weight).ok()).unwrap_or(1);
        FairKey { key, weight, waiting: waiting.unsigned_abs() }
    });
    keys.collect()
}

/// Weights of the [fair keys](crate::Job::fair_key) of a queue: a key of weight three starts three jobs where one of
/// weight one starts one, while both have some waiting. Keys that are not named weigh one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weights(BTreeMap<String, u32>);

impl Weights {
    /// Greatest weight; the least is 1.
    pub const WEIGHT_MAX: u32 = 1000;
    /// Most keys with a weight of their own.
    pub const KEYS_MAX: usize = 1000;

    /// All keys weigh one.
    #[must_use]
    pub fn equal() -> Self {
        Self::default()
    }

    /// Gives a key a weight, 1 to [`Self::WEIGHT_MAX`]; jobs without a key are those of the key `""`.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, weight: u32) -> Self {
        self.0.insert(key.into(), weight);
        self
    }

    /// The keys that have a weight of their own, by name.
    pub fn named(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(key, weight)| (key.as_str(), *weight))
    }

    /// Checks all bounds.
    ///
    /// # Errors
    /// [`EngineError::Refused`] for more than [`Self::KEYS_MAX`] keys, one of more than 512 bytes or with a NUL in it,
    /// or a weight outside 1 to [`Self::WEIGHT_MAX`].
    pub(super) fn check(&self, queue: &str) -> Result<(), EngineError> {
        let is_bad = |(key, weight): (&str, u32)| {
            key.len() > KEY_BYTES_MAX || key.contains('\0') || !(1..=Self::WEIGHT_MAX).contains(&weight)
        };
        if self.0.len() <= Self::KEYS_MAX && !self.named().any(is_bad) {
            return Ok(());
        }
        Err(EngineError::Refused(format!(
            "weights of queue `{queue}`: {} keys at most, of up to {KEY_BYTES_MAX} bytes, each weighing 1 to {}",
            Self::KEYS_MAX,
            Self::WEIGHT_MAX
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_have_bounds() {
        let is_valid = |weights: Weights| weights.check("mail").is_ok();
        assert!(is_valid(Weights::equal().with("a", 1).with("", Weights::WEIGHT_MAX)));
        assert!(!is_valid(Weights::equal().with("a", 0)));
        assert!(!is_valid(Weights::equal().with("a", Weights::WEIGHT_MAX + 1)));
        assert!(!is_valid(Weights::equal().with("a".repeat(KEY_BYTES_MAX + 1), 1)));
        assert!(!is_valid((0..=Weights::KEYS_MAX).fold(Weights::equal(), |w, n| w.with(n.to_string(), 1))));
    }
}
