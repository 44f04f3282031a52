//! Logging to standard error, as text for people or JSON for machines; standard output is for the command's result.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use base::spans;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, fmt, prelude::*};

use crate::{
    config::{Log, LogFormat},
    traces::Recording,
};

/// Bytes of log lines held back at most; later ones are written at once, or dropped while a command draws.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Lines held back by [`hold`]; `None` while lines are written at once.
static HELD: Mutex<Option<HeldLog>> = Mutex::new(None);

#[derive(Default)]
struct HeldLog {
    lines: Vec<u8>,
    /// Whether lines above the bound are dropped, as they would be written into a picture.
    is_drawn: bool,
    dropped: u64,
}

/// Installs the process-wide subscriber. Log lines name trace and span, but are no part of what is recorded.
pub(crate) fn start(log: &Log, recording: Option<&Recording>) {
    let lines = fmt::layer().with_writer(|| Lines).with_ansi(std::io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // `Targets` instead of `EnvFilter`: the latter also filters by fields, which costs a regular-expression engine.
    let filter = log.filter.clone().with_target(spans::TARGET, LevelFilter::OFF);
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    // Fails only if a subscriber is already set, which then stays.
    match recording {
        Some(recording) => drop(registry.with(recording.layer()).try_init()),
        None => drop(registry.try_init()),
    }
}

/// Holds back log lines until the guard is dropped, so that a command's text stays one block on a terminal.
pub(crate) fn hold() -> HeldLines {
    held().get_or_insert_default();
    HeldLines(())
}

/// The same while a command draws on a terminal, where a log line would spoil the picture: what is above the bound is
/// dropped, and counted in a line at the end. Holds nothing back where standard error is no terminal.
pub(crate) fn hold_while_drawing() -> Option<HeldLines> {
    if !io::stderr().is_terminal() {
        return None;
    }
    held().get_or_insert_default().is_drawn = true;
    Some(HeldLines(()))
}

/// Guard of [`hold`]: on drop, also by an error, the lines are written to standard error.
pub(crate) struct HeldLines(());

impl Drop for HeldLines {
    fn drop(&mut self) {
        let HeldLog { lines, dropped, .. } = held().take().unwrap_or_default();
        // A closed standard error loses log lines at any time.
        drop(io::stderr().write_all(&lines));
        if dropped > 0 {
            drop(writeln!(io::stderr(), "{dropped} later log lines dropped"));
        }
    }
}

fn held() -> MutexGuard<'static, Option<HeldLog>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writer of log lines; one call of `write` is one line.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut held = held();
        match held.as_mut() {
            Some(held) if held.lines.len() < HELD_BYTES_MAX => held.lines.extend_from_slice(line),
            Some(held) if held.is_drawn => held.dropped += 1,
            _ => return io::stderr().write(line),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
