//! Logging to standard error, as text for people or JSON for machines; standard output is for the command's result.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing_subscriber::{Layer, fmt, prelude::*};

use crate::config::{Log, LogFormat};

/// Bytes of log lines held back at most; later ones are written at once.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// Lines held back by [`hold`]; `None` while lines are written at once.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// Installs the process-wide subscriber.
pub(crate) fn start(log: &Log) {
    let lines = fmt::layer().with_writer(|| Lines).with_ansi(std::io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // `Targets` instead of `EnvFilter`: the latter also filters by fields, which costs a regular-expression engine.
    let filter = log.filter.clone();
    // Fails only if a subscriber is already set, which then stays.
    drop(tracing_subscriber::registry().with(lines.with_filter(filter)).try_init());
}

/// Holds back log lines until the guard is dropped, so that a command's text stays one block on a terminal.
pub(crate) fn hold() -> HeldLines {
    held().get_or_insert_default();
    HeldLines(())
}

/// Guard of [`hold`]: on drop, also by an error, the lines are written to standard error.
pub(crate) struct HeldLines(());

impl Drop for HeldLines {
    fn drop(&mut self) {
        let lines = held().take().unwrap_or_default();
        // A closed standard error loses log lines at any time.
        drop(io::stderr().write_all(&lines));
    }
}

fn held() -> MutexGuard<'static, Option<Vec<u8>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writer of log lines; one call of `write` is one line.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut held = held();
        match held.as_mut().filter(|lines| lines.len() < HELD_BYTES_MAX) {
            Some(lines) => {
                lines.extend_from_slice(line);
                Ok(line.len())
            }
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
