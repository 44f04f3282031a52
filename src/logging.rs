//! Logs go to standard error, as text for people or JSON for machines; standard output belongs to the answer.

use std::io::IsTerminal;

use tracing_subscriber::{Layer, fmt, prelude::*};

use crate::config::{Log, LogFormat};

/// Installs the process-wide subscriber.
pub(crate) fn start(log: &Log) {
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Targets rather than `EnvFilter`: the filter by fields that the latter adds costs a regular-expression engine.
    let filter = log.filter.clone();
    // Fails only when a subscriber is set already, which then stays.
    drop(tracing_subscriber::registry().with(lines.with_filter(filter)).try_init());
}
