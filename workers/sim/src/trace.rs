//! Trace of a run, in order: as text when requested, as a fingerprint always.

use parking_lot::Mutex;
use tokio::time::Instant;

/// Most lines kept; an endless loop must not fill the memory.
const LINES_MAX: usize = 20_000;
/// FNV-1a (draft-eastlake-fnv): small, and collision attacks do not matter here.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

pub(crate) struct Trace {
    in_words: bool,
    began: Instant,
    kept: Mutex<TraceState>,
}

#[derive(Default)]
struct TraceState {
    lines: Vec<String>,
    fingerprint: u64,
    steps: u64,
}

impl Trace {
    pub(crate) fn new(in_words: bool) -> Self {
        let kept = TraceState { fingerprint: FNV_OFFSET, ..TraceState::default() };
        Self { in_words, began: Instant::now(), kept: Mutex::new(kept) }
    }

    /// Records a step; `words` is called only when the text is kept.
    pub(crate) fn note(&self, step: &str, words: impl FnOnce() -> String) {
        let millis = self.began.elapsed().as_millis();
        let mut kept = self.kept.lock();
        kept.steps += 1;
        let with_time = fold(kept.fingerprint, &millis.to_le_bytes());
        kept.fingerprint = fold(with_time, step.as_bytes());
        if self.in_words && kept.lines.len() < LINES_MAX {
            let (seconds, millis) = (millis / 1000, millis % 1000);
            kept.lines.push(format!("{seconds:>6}.{millis:03} {step:<10} {}", words()));
        }
    }

    /// The lines, the fingerprint of all steps with their times, and the number of steps.
    pub(crate) fn close(&self) -> (Vec<String>, u64, u64) {
        let mut kept = self.kept.lock();
        (std::mem::take(&mut kept.lines), kept.fingerprint, kept.steps)
    }
}

pub(crate) fn fold(fingerprint: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(fingerprint, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME))
}
