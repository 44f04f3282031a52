//! Drawing of lots: a permutation of the first places of a room, by its key.
//!
//! Guarantees: a bijection of `0..drawn`, so that every shopper gets one rank of their own; a function of the key, so
//! that all processes and every restart agree without keeping the lots. Who does not know the key cannot tell the rank
//! of a place beforehand, nor choose one. A Feistel network over the next power of four, walked until it is back in
//! range.

use sha2::{Digest, Sha256};

const ROUNDS: u8 = 4;

/// The rank at which a place is admitted: by lot below `drawn`, by arrival from there on.
pub(crate) fn rank(key: &[u8; 32], place: u64, drawn: u64) -> u64 {
    if place >= drawn {
        return place;
    }
    let half = half_bits(drawn);
    let mut rank = shuffled(key, place, half);
    // Ends: the cycle through `place`, which is in range, comes back to it.
    while rank >= drawn {
        rank = shuffled(key, rank, half);
    }
    rank
}

/// Half of the bits of a domain that holds `0..count`.
fn half_bits(count: u64) -> u32 {
    (u64::BITS - count.leading_zeros()).div_ceil(2).clamp(1, 32)
}

/// One pass through the network, which permutes `0..4^half`.
fn shuffled(key: &[u8; 32], value: u64, half: u32) -> u64 {
    let mask = u64::MAX >> (u64::BITS - half);
    let (mut left, mut right) = ((value >> half) & mask, value & mask);
    for round in 0..ROUNDS {
        (left, right) = (right, left ^ (mixed(key, round, right) & mask));
    }
    (left << half) | right
}

fn mixed(key: &[u8; 32], round: u8, value: u64) -> u64 {
    let hash = Sha256::new().chain_update(key).chain_update([round]).chain_update(value.to_be_bytes());
    hash.finalize().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_place_has_one_rank() {
        for drawn in [0, 1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1_000, 4_097] {
            let key = [u8::try_from(drawn % 251).unwrap_or(0); 32];
            let ranks: BTreeSet<u64> = (0..drawn).map(|place| rank(&key, place, drawn)).collect();
            assert!(ranks.into_iter().eq(0..drawn), "{drawn}");
            assert_eq!(rank(&key, drawn, drawn), drawn, "who comes later follows");
        }
    }

    #[test]
    fn lots_are_drawn_by_the_key_and_favour_no_place() {
        let ranks = |key: u8| (0..100).map(|place| rank(&[key; 32], place, 1_000)).collect::<Vec<_>>();
        assert_ne!(ranks(1), ranks(2));
        assert_eq!(ranks(1), ranks(1));
        for place in [0, 1, 500, 999] {
            let sum: u64 = (0..200).map(|key: u8| rank(&[key; 32], place, 1_000)).sum();
            assert!((400..600).contains(&(sum / 200)), "place {place}: {} on average", sum / 200);
        }
    }
}
