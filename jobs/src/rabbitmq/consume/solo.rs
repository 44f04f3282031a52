//! Suspects within one engine handle: each runs beside no other job of the process, see [`crate::engine`].
//!
//! A consumer counts a dispatched job before it asks [`Solo::is_open`], and a suspect closes before it looks for such
//! jobs: of two that start at the same moment, one sees the other. A suspect whose turn has come is published as a copy
//! that says so, for which the turn is [reserved](Solo::reserve); any process may receive it. Only the loss of such a
//! copy is a crash alone. One that does not get its turn is put aside without it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long jobs do not start after a suspect found others running; longer than it is put aside.
const DRAIN_FOR: Duration = Duration::from_secs(1);
/// How long no other job starts, and no other suspect gets a turn, until the copy that is to run alone arrives.
const RESERVED_FOR: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Solo {
    closed: AtomicBool,
    state: Mutex<SoloState>,
}

#[derive(Default)]
enum SoloState {
    #[default]
    Open,
    /// Until this time no job starts, so that those running end and a suspect gets its turn.
    Draining(Instant),
    /// Until this time no job starts but a suspect whose turn has come. With the session that published its copy.
    Reserved(u64, Instant),
    /// Session and delivery tag of the suspect that runs.
    Alone(u64, u64),
}

impl Solo {
    /// Whether jobs that are no suspects may start.
    pub(super) fn is_open(&self) -> bool {
        if !self.closed.load(Ordering::SeqCst) {
            return true;
        }
        let mut state = self.state.lock();
        let over = match *state {
            SoloState::Draining(until) | SoloState::Reserved(_, until) => until <= Instant::now(),
            SoloState::Open | SoloState::Alone(..) => false,
        };
        if over {
            self.open(&mut state);
        }
        over
    }

    /// Reserves the turn for a suspect of this session, unless another job runs or another suspect has it.
    pub(super) fn reserve(&self, session: u64, is_busy: impl FnOnce() -> bool) -> bool {
        let mut state = self.state.lock();
        let now = Instant::now();
        if matches!(*state, SoloState::Reserved(_, until) if until > now) {
            return false;
        }
        self.close(&mut state, SoloState::Reserved(session, now + RESERVED_FOR), is_busy)
    }

    /// Starts the turn of a suspect's copy, unless another job runs.
    pub(super) fn enter(&self, session: u64, tag: u64, is_busy: impl FnOnce() -> bool) -> bool {
        self.close(&mut self.state.lock(), SoloState::Alone(session, tag), is_busy)
    }

    /// Closes for a suspect, with this state unless another job runs; returns whether none does.
    fn close(&self, state: &mut SoloState, turn: SoloState, is_busy: impl FnOnce() -> bool) -> bool {
        if matches!(state, SoloState::Alone(..)) {
            return false;
        }
        self.closed.store(true, Ordering::SeqCst);
        let busy = is_busy();
        *state = if busy { SoloState::Draining(Instant::now() + DRAIN_FOR) } else { turn };
        !busy
    }

    /// Ends the turn of this delivery, or of any one of the session; returns whether it was its turn.
    pub(super) fn leave(&self, session: u64, tag: Option<u64>) -> bool {
        if !self.closed.load(Ordering::SeqCst) {
            return false;
        }
        let mut state = self.state.lock();
        let was = match *state {
            SoloState::Alone(of, its) => of == session && tag.is_none_or(|tag| tag == its),
            SoloState::Reserved(of, _) => of == session && tag.is_none(),
            SoloState::Open | SoloState::Draining(_) => false,
        };
        if was {
            self.open(&mut state);
        }
        was
    }

    fn open(&self, state: &mut SoloState) {
        *state = SoloState::Open;
        self.closed.store(false, Ordering::SeqCst);
    }
}
