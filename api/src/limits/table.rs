//! Table of arrival times, one per caller: the state that governor decides by.
//!
//! Guarantees: the table holds at most the sum of [`SIZES`] entries, whatever addresses call. A caller with an entry
//! keeps it. When there is no room for a new caller, it is counted together with its neighbours: IPv6 /64, /56, /48;
//! IPv4 address, /24, /16; at last with all of the same 16-bit hash. So made-up callers can fill the table, but cannot
//! take a known caller's allowance, nor make all new callers share one. Hashes are keyed at random per table: no caller
//! can choose its neighbours.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use governor::{
    nanos::Nanos,
    state::{StateStore, keyed::ShrinkableKeyedStateStore},
};
use store::domain::{KeyId, MerchantId};

use crate::client_ip;

/// Entries per width, from single callers to groups. The last group is a hash of 16 bits, so all groups of that width
/// fit.
pub(super) const SIZES: [usize; 4] = [100_000, 65_536, 65_536, 65_536];
/// IPv4 and IPv6 bits that one entry stands for.
const PREFIXES: [(u8, u8); 4] = [(32, 64), (24, 56), (16, 48), (16, 48)];
/// Least time between two searches for room: each search scans every entry.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);

/// The key that a limit counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    Address(IpAddr),
    /// One customer of a shop, whose customers all share the publishable key.
    KeyAt(KeyId, IpAddr),
    Key(KeyId),
    Merchant(MerchantId),
    /// A hash of merchant, mail address and network address.
    Account([u8; 32]),
}

impl Caller {
    /// The group of the caller at this index of [`PREFIXES`].
    fn widened(self, width: usize) -> Self {
        let (v4, v6) = PREFIXES[width];
        match self {
            Self::Address(address) => Self::Address(client_ip::network(address, v4, v6)),
            Self::KeyAt(key, address) => Self::KeyAt(key, client_ip::network(address, v4, v6)),
            Self::Key(_) | Self::Merchant(_) | Self::Account(_) => self,
        }
    }
}

/// The key of the counters that processes share.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::KeyAt(key, address) => write!(f, "{key}@{address}"),
            Self::Key(key) => write!(f, "{key}"),
            Self::Merchant(merchant) => write!(f, "{merchant}"),
            Self::Account(hash) => f.write_str(&hex::encode(hash)),
        }
    }
}

/// The entries of one limit; clones share them.
#[derive(Clone)]
pub(super) struct Table {
    hasher: RandomState,
    /// Nanoseconds between two requests of one caller in the long run.
    interval: u64,
    entries: Arc<Mutex<Entries>>,
}

/// Arrival times by hash, one map per width; in nanoseconds, as governor counts them.
#[derive(Default)]
struct Entries {
    by_width: [HashMap<u64, u64>; SIZES.len()],
    searched_at: u64,
}

impl Table {
    pub(super) fn new(interval: Duration) -> Self {
        Self { hasher: RandomState::new(), interval: Nanos::from(interval).into(), entries: Arc::default() }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Each entry is replaced whole, so a panic leaves no entry half written.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a caller its whole allowance back, unless it is counted together with others.
    pub(super) fn forget(&self, caller: Caller) {
        let hash = self.hash(caller, 0);
        self.entries().by_width[0].remove(&hash);
    }

    fn hash(&self, caller: Caller, width: usize) -> u64 {
        let hash = self.hasher.hash_one(caller.widened(width));
        if width == SIZES.len() - 1 { hash & 0xffff } else { hash }
    }
}

impl Entries {
    /// Width and hash under which a caller is counted.
    fn place(&self, hash: impl Fn(usize) -> u64) -> (usize, u64) {
        let last = SIZES.len() - 1;
        let narrow = (0..last).map(|width| (width, hash(width)));
        let mut fitting = narrow.filter(|(width, hash)| {
            let entries = &self.by_width[*width];
            entries.len() < SIZES[*width] || entries.contains_key(hash)
        });
        fitting.next().unwrap_or_else(|| (last, hash(last)))
    }

    /// Removes idle callers, whose state equals that of new ones.
    fn make_room(&mut self, now: u64) {
        if u128::from(now.saturating_sub(self.searched_at)) >= SEARCH_INTERVAL.as_nanos() {
            self.searched_at = now;
            self.retain_after(now);
        }
    }

    fn retain_after(&mut self, arrival: u64) {
        for entries in &mut self.by_width {
            entries.retain(|_, at| *at > arrival);
        }
    }
}

impl StateStore for Table {
    type Key = Caller;

    fn measure_and_replace<T, F, E>(&self, caller: &Caller, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut entries = self.entries();
        let is_full = entries.by_width[0].len() >= SIZES[0];
        // An idle caller is always allowed, and its next arrival time is now plus one interval.
        if is_full && let Ok((_, next)) = decide(None) {
            entries.make_room(next.as_u64().saturating_sub(self.interval));
        }
        let (width, hash) = entries.place(|width| self.hash(*caller, width));
        let entries = &mut entries.by_width[width];
        let (outcome, arrival) = decide(entries.get(&hash).copied().map(Nanos::new))?;
        entries.insert(hash, arrival.as_u64());
        Ok(outcome)
    }
}

impl ShrinkableKeyedStateStore<Caller> for Table {
    fn retain_recent(&self, drop_below: Nanos) {
        self.entries().retain_after(drop_below.as_u64());
    }

    fn shrink_to_fit(&self) {
        for entries in &mut self.entries().by_width {
            entries.shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        self.entries().by_width.iter().map(HashMap::len).sum()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// A limit of one call per hour.
    fn table() -> Table {
        Table::new(Duration::from_hours(1))
    }

    /// Whether a call at `now` is allowed by a limit of one call per hour.
    fn passes(table: &Table, address: impl Into<IpAddr>, now: Duration) -> bool {
        let decide = |arrival: Option<Nanos>| {
            let now = Nanos::from(now);
            let is_early = arrival.is_some_and(|arrival| arrival > now);
            if is_early { Err(()) } else { Ok(((), now + Nanos::new(table.interval))) }
        };
        table.measure_and_replace(&Caller::Address(address.into()), decide).is_ok()
    }

    /// The `n`-th address of a sequence that visits each /16 network once before it repeats one.
    fn anywhere(n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(n.reverse_bits())
    }

    #[test]
    fn known_callers_keep_their_entry_while_others_fill_the_table() {
        let (table, start) = (table(), Duration::from_secs(10));
        let known = Ipv4Addr::new(203, 0, 113, 7);
        assert!(passes(&table, known, start));
        for n in 0..300_000 {
            passes(&table, anywhere(n), start);
        }
        assert!(table.len() <= SIZES.iter().sum());
        assert!(!passes(&table, known, start), "its entry is still its own");
        assert!(passes(&table, known, start + Duration::from_hours(1)), "and fills again");
    }

    #[test]
    fn a_full_table_counts_new_callers_with_their_neighbours_only() {
        let (table, start) = (table(), Duration::from_secs(10));
        let of_tunnel = |n: u64| Ipv6Addr::from_bits((0x2001_0db8_0000_0000_u128 + u128::from(n)) << 64);
        for n in 0..131_072 {
            passes(&table, of_tunnel(n), start);
        }
        let strangers = (0..500).map(|n| Ipv4Addr::from_bits(0xc612_0001 + (n << 8)));
        let passed = strangers.filter(|address| passes(&table, *address, start)).count();
        assert_eq!(passed, 500, "each in a /24 of its own");
        assert!(!passes(&table, Ipv4Addr::new(198, 18, 3, 200), start), "a neighbour of one of them");
    }

    #[test]
    fn quiet_callers_make_room() {
        let (table, start) = (table(), Duration::from_secs(10));
        for n in 0..200_000 {
            passes(&table, anywhere(n), start);
        }
        let later = start + Duration::from_hours(1) + SEARCH_INTERVAL;
        assert!(passes(&table, anywhere(1_000_000), later));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn the_widest_groups_are_bounded_by_their_number() {
        let table = table();
        let hashes = (0..100_000).map(|n| table.hash(Caller::Address(anywhere(n).into()), 3));
        assert!(hashes.max() <= Some(0xffff));
    }
}
