//! Logging to standard error, as text for people or JSON for machines; standard output is for the command's result.

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
    // `Targets` instead of `EnvFilter`: the latter also filters by fields, which costs a regular-expression engine.
    let filter = log.filter.clone();
    // Fails only if a subscriber is already set, which then stays.
    drop(tracing_subscriber::registry().with(lines.with_filter(filter)).try_init());
}
