//! The limiter of a process, shared by all its queues: hands slots and starts to the feeds.
//!
//! Guarantees: never waits and does no I/O; what the store must be asked is the keeper's task, which is woken by need.
//! The feeds are woken when jobs that they have put aside are to be decided about again. Bounded by [`KEYS_MAX`].

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::Duration,
};

use base::{Ambient, Timestamp, time::later};
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{
    key_state::{KeyState, Wants},
    limit::{KindLimit, Limit},
    term::{Moment, Term},
};
use crate::{
    engine::{Receipt, Settler},
    envelope::{Envelope, JobId},
    job_store::{GrantedStarts, LIMIT_KEYS_MAX, LeasedSlots, UnusedStarts},
};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 200;
/// Most keys in use in a process; jobs with further ones are sent away for [`AWAY`].
const KEYS_MAX: usize = 10_000;
/// Snooze of a job that can neither start nor be parked: from this long up to twice as long.
const AWAY: Duration = Duration::from_secs(5);

/// The limit and the key of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LimitKey {
    pub(super) limit: Arc<Limit>,
    pub(super) key: Arc<str>,
}

/// What a job with a limit does next.
pub(crate) enum Take {
    /// It starts, with a slot if its limit has slots.
    Start(Option<LimitSlot>),
    /// It waits aside until the store has answered.
    Wait,
    /// It is to be parked.
    Full,
    /// It is to be snoozed: the store is away, or too many keys are in use.
    Away,
}

/// A slot of a limit, free when dropped.
pub(crate) struct LimitSlot {
    limiter: Arc<Limiter>,
    key: LimitKey,
    term: Arc<Term>,
}

impl LimitSlot {
    pub(super) fn term(&self) -> &Term {
        &self.term
    }
}

impl Drop for LimitSlot {
    fn drop(&mut self) {
        self.limiter.ended(&self.key, &self.term);
    }
}

/// A delivery to be parked: noted, then settled.
pub(crate) struct Parking {
    pub(crate) key: LimitKey,
    pub(crate) receipt: Receipt,
    pub(crate) settler: Arc<dyn Settler>,
}

/// A question to the store.
pub(super) struct Ask {
    pub(super) key: LimitKey,
    pub(super) wants: Wants,
}

/// Questions and returns that are due.
pub(super) struct Due {
    pub(super) asks: Vec<Ask>,
    pub(super) unused: Vec<UnusedStarts>,
}

/// The limits of a process.
pub(crate) struct Limiter {
    kinds: HashMap<&'static str, KindLimit>,
    ambient: Ambient,
    keys: Mutex<Keys>,
    parking: Mutex<Vec<Parking>>,
    feeds: Mutex<Vec<Weak<AtomicWaker>>>,
    need: Notify,
}

#[derive(Default)]
struct Keys {
    states: HashMap<LimitKey, KeyState>,
    /// Whether the store did not answer the last question.
    away: bool,
}

impl Limiter {
    pub(crate) fn new(kinds: HashMap<&'static str, KindLimit>, ambient: Ambient) -> Arc<Self> {
        let (keys, parking, feeds, need) =
            (Mutex::default(), Mutex::default(), Mutex::default(), Notify::new());
        Arc::new(Self { kinds, ambient, keys, parking, feeds, need })
    }

    /// Wakes this feed from now on when jobs put aside are to be decided about again.
    pub(crate) fn subscribe(&self, feed: &Arc<AtomicWaker>) {
        let mut feeds = self.feeds.lock();
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.push(Arc::downgrade(feed));
    }

    /// The limit and key of a job; `None` without.
    ///
    /// # Errors
    /// A key of more than [`KEY_BYTES_MAX`], or a panic of the function that takes it, as a text for people.
    pub(crate) fn key_of(&self, envelope: &Envelope) -> Result<Option<LimitKey>, String> {
        let Some(kind) = self.kinds.get(envelope.kind.as_str()) else { return Ok(None) };
        let limit = kind.limit.name();
        // It would take down the worker of the queue, again and again.
        let key = catch_unwind(AssertUnwindSafe(|| (kind.key)(envelope.version, envelope.payload.get())));
        let key = key.map_err(|_| format!("panicked while its key for limit `{limit}` was taken"))?;
        let Some(key) = key else { return Ok(None) };
        if key.len() > KEY_BYTES_MAX {
            return Err(format!("key of {} bytes for limit `{limit}`, at most {KEY_BYTES_MAX}", key.len()));
        }
        Ok(Some(LimitKey { limit: Arc::clone(&kind.limit), key: key.into() }))
    }

    /// Takes a slot and a start for a job, if they are here.
    pub(crate) fn take(self: &Arc<Self>, key: &LimitKey, job: JobId) -> Take {
        let mut keys = self.keys.lock();
        let Keys { states, away } = &mut *keys;
        if states.len() >= KEYS_MAX && !states.contains_key(key) {
            return Take::Away;
        }
        let now = Instant::now();
        let state = states.entry(key.clone()).or_insert_with(|| KeyState::new(now));
        if let Some(taken) = state.start(&key.limit, job, &self.ambient) {
            let slot = |term| LimitSlot { limiter: Arc::clone(self), key: key.clone(), term };
            return Take::Start(taken.term.map(slot));
        }
        if *away {
            return Take::Away;
        }
        if !state.waits(job, now) {
            return Take::Full;
        }
        self.need.notify_one();
        Take::Wait
    }

    /// Has a delivery parked, which counts as fetched until it is settled.
    pub(crate) fn park(&self, parking: Parking) {
        self.parking.lock().push(parking);
        self.need.notify_one();
    }

    /// The end of the snooze of a job that is sent away.
    pub(crate) fn away_until(&self) -> Timestamp {
        later(self.ambient.now(), AWAY + self.ambient.jitter(AWAY))
    }

    fn ended(&self, key: &LimitKey, term: &Arc<Term>) {
        let ended = self.keys.lock().states.get_mut(key).map(|state| state.ended(term, Instant::now()));
        let (waited_for, ask) = ended.unwrap_or_default();
        if waited_for {
            self.wake_feeds();
        }
        if ask {
            self.need.notify_one();
        }
    }

    fn wake_feeds(&self) {
        let feeds: Vec<_> = self.feeds.lock().iter().filter_map(Weak::upgrade).collect();
        for feed in &feeds {
            feed.wake();
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment::now(&self.ambient)
    }

    pub(super) fn ambient(&self) -> &Ambient {
        &self.ambient
    }

    /// Waits until the store is to be asked, or jobs are to be parked.
    pub(super) async fn needed(&self) {
        self.need.notified().await;
    }

    /// Deliveries to be parked, [`LIMIT_KEYS_MAX`] at most.
    pub(super) fn parking(&self) -> Vec<Parking> {
        let mut parking = self.parking.lock();
        let most = parking.len().min(LIMIT_KEYS_MAX);
        if parking.len() > most {
            self.need.notify_one();
        }
        parking.drain(..most).collect()
    }

    /// Has the keys of parked jobs looked after.
    pub(super) fn watch<'a>(&self, keys: impl Iterator<Item = &'a LimitKey>) {
        let (now, mut held) = (Instant::now(), self.keys.lock());
        for key in keys {
            held.states.entry(key.clone()).or_insert_with(|| KeyState::new(now)).watch(now);
        }
    }

    /// What is due, for [`LIMIT_KEYS_MAX`] keys at most. Forgets keys of which nothing is left.
    pub(super) fn due(&self) -> Due {
        let (now, mut keys) = (Instant::now(), self.keys.lock());
        let mut due = Due { asks: Vec::new(), unused: Vec::new() };
        // While the store is away, a question about any key tells whether it is back.
        if !keys.away {
            keys.states.retain(|_, state| !state.is_idle(now));
        }
        let asked = keys.states.iter_mut().filter(|(_, state)| state.due <= now);
        for (key, state) in asked.take(LIMIT_KEYS_MAX) {
            due.unused.extend(state.unused_block(&self.ambient, false).map(|unused| key.unused(unused)));
            due.asks.push(Ask { key: key.clone(), wants: state.wants(&key.limit) });
        }
        due
    }

    /// Time at which the store is to be asked next, as far as it is known now.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.keys.lock().states.values().map(|state| state.due).min()
    }

    /// Takes in an answer for slots, with the end of their lease.
    pub(super) fn leased(&self, ask: &Ask, answer: LeasedSlots, end: Moment) {
        if let Some(state) = self.keys.lock().states.get_mut(&ask.key) {
            state.leased(&ask.key.limit, ask.wants, answer, (end, &self.ambient));
        }
    }

    /// Takes in an answer for starts that were asked for at `sent`.
    pub(super) fn granted(&self, ask: &Ask, answer: GrantedStarts, sent: Moment) {
        if let Some(state) = self.keys.lock().states.get_mut(&ask.key) {
            state.granted(ask.wants, answer, sent);
        }
    }

    /// Ends questions that were answered, each with the time in which starts become free; then what waits for them is
    /// decided about again.
    pub(super) fn answered(&self, asks: &[(Ask, Option<Duration>)], renew_in: Duration) {
        let mut keys = self.keys.lock();
        keys.away = false;
        for (ask, free_in) in asks {
            if let Some(state) = keys.states.get_mut(&ask.key) {
                state.answered(renew_in, *free_in);
            }
        }
        drop(keys);
        self.wake_feeds();
    }

    /// Ends questions that were not answered.
    pub(super) fn unanswered<'a>(&self, asked: impl Iterator<Item = &'a LimitKey>, again: Instant) {
        let mut keys = self.keys.lock();
        keys.away = true;
        for key in asked {
            if let Some(state) = keys.states.get_mut(key) {
                state.unanswered(again);
            }
        }
        drop(keys);
        self.wake_feeds();
    }

    /// Takes everything that this process holds, to be given back at its end.
    pub(super) fn take_all(&self) -> (Vec<LimitKey>, Vec<UnusedStarts>) {
        let states = std::mem::take(&mut self.keys.lock().states);
        let (mut leased, mut unused) = (Vec::new(), Vec::new());
        for (key, mut state) in states {
            unused.extend(state.unused_block(&self.ambient, true).map(|of_block| key.unused(of_block)));
            if key.limit.at_once().is_some() {
                leased.push(key);
            }
        }
        (leased, unused)
    }
}

impl LimitKey {
    fn unused(&self, (block, used): (i64, u32)) -> UnusedStarts {
        UnusedStarts { limit: self.limit.name().to_owned(), key: self.key.to_string(), block, used }
    }
}
