//! The shard map: where a new merchant is created, and which shard is asked first.
//!
//! Guarantees: the same names and pins give the same result in every process and for any order of the names; adding or
//! removing a shard changes the result only for the merchants which that shard gains or loses. The map is not the
//! record of where a merchant lives: that is the merchant's row, see [`super`]. So a changed map misroutes no merchant.

use std::collections::BTreeMap;

use base::ids::Uuid;
use sha2::{Digest, Sha256};
use store::domain::MerchantId;

pub const SHARDS_MAX: usize = 64;

/// Rendezvous hashing (Thaler and Ravishankar, 1998: highest random weight) over the shards' names, with exceptions.
#[derive(Debug, Clone)]
pub struct ShardMap {
    names: Vec<String>,
    pins: BTreeMap<MerchantId, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    #[error("there is no shard")]
    Empty,
    #[error("there are more than {SHARDS_MAX} shards")]
    TooMany,
    #[error("two shards are named {0}")]
    Twice(String),
    #[error("{merchant} is pinned to the shard {shard}, which does not exist")]
    UnknownShard { merchant: MerchantId, shard: String },
}

impl ShardMap {
    /// A map of these names, whose order gives the shards' numbers.
    pub fn new(
        names: impl IntoIterator<Item = String>,
        pins: &BTreeMap<MerchantId, String>,
    ) -> Result<Self, MapError> {
        let names: Vec<String> = names.into_iter().collect();
        if names.is_empty() {
            return Err(MapError::Empty);
        }
        if names.len() > SHARDS_MAX {
            return Err(MapError::TooMany);
        }
        if let Some((n, name)) = names.iter().enumerate().find(|(n, name)| names[..*n].contains(name)) {
            return Err(MapError::Twice(format!("{name} (number {n})")));
        }
        let mut map = Self { names, pins: BTreeMap::new() };
        for (merchant, shard) in pins {
            let unknown = || MapError::UnknownShard { merchant: *merchant, shard: shard.clone() };
            let number = map.number_of(shard).ok_or_else(unknown)?;
            map.pins.insert(*merchant, number);
        }
        Ok(map)
    }

    /// The number of the shard on which a new merchant is created.
    pub fn home(&self, merchant: MerchantId) -> usize {
        if let Some(pinned) = self.pins.get(&merchant) {
            return *pinned;
        }
        let weights = self.names.iter().map(|name| weight(name, merchant.0));
        // Of equal weights, which do not occur, the first name by the alphabet.
        let best = weights
            .enumerate()
            .max_by(|(a, one), (b, other)| one.cmp(other).then_with(|| self.names[*b].cmp(&self.names[*a])));
        best.map_or(0, |(number, _)| number)
    }

    pub fn number_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// The names of the shards, by number.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// The weight of a shard for a merchant: SHA-256, as it is stable across platforms and releases, unlike the hashers of
/// the standard library. Only new and unknown merchants are hashed.
fn weight(name: &str, merchant: Uuid) -> [u8; 32] {
    let hash = Sha256::new().chain_update(merchant.as_bytes()).chain_update([0]).chain_update(name);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use base::{Ambient, Timestamp};

    use super::*;

    fn map(names: &[&str]) -> ShardMap {
        ShardMap::new(names.iter().map(|name| (*name).to_owned()), &BTreeMap::new()).expect("a map")
    }

    fn merchants() -> Vec<MerchantId> {
        let (ambient, _) = Ambient::steered(7, Timestamp::UNIX_EPOCH);
        (0..3000).map(|_| MerchantId::fresh(&ambient)).collect()
    }

    fn name_of(map: &ShardMap, merchant: MerchantId) -> &str {
        &map.names()[map.home(merchant)]
    }

    #[test]
    fn merchants_are_spread_evenly_whatever_the_order_of_names() {
        let (map, same) = (map(&["a", "b", "c"]), map(&["c", "a", "b"]));
        let mut counts = BTreeMap::<&str, usize>::new();
        for merchant in merchants() {
            assert_eq!(name_of(&map, merchant), name_of(&same, merchant));
            *counts.entry(name_of(&map, merchant)).or_default() += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_new_shard_takes_its_share_and_moves_no_other_merchant() {
        let (before, after) = (map(&["a", "b"]), map(&["a", "b", "c"]));
        let mut gained = 0;
        for merchant in merchants() {
            let now = name_of(&after, merchant);
            if now == "c" {
                gained += 1;
            } else {
                assert_eq!(now, name_of(&before, merchant));
            }
        }
        assert!((850..1150).contains(&gained), "{gained}");
    }

    #[test]
    fn a_pin_wins_and_must_name_a_shard() {
        let names = || ["a".to_owned(), "b".to_owned()];
        for merchant in merchants().into_iter().take(20) {
            let pinned =
                ShardMap::new(names(), &BTreeMap::from([(merchant, "b".to_owned())])).expect("a map");
            assert_eq!(name_of(&pinned, merchant), "b");
            let wrong = ShardMap::new(names(), &BTreeMap::from([(merchant, "c".to_owned())]));
            assert!(matches!(wrong, Err(MapError::UnknownShard { .. })), "{wrong:?}");
        }
        assert_eq!(ShardMap::new([], &BTreeMap::new()).err(), Some(MapError::Empty));
        assert!(matches!(
            ShardMap::new(["a".to_owned(), "a".to_owned()], &BTreeMap::new()),
            Err(MapError::Twice(_))
        ));
    }

    #[test]
    fn the_hash_is_the_same_in_every_release() {
        let merchant: MerchantId = "mer_018e2a7b-0000-7000-8000-000000000001".parse().expect("an id");
        // Computed with another implementation of SHA-256.
        assert_eq!(name_of(&map(&["a", "b", "c", "d", "e", "f", "g", "h"]), merchant), "h");
    }
}
