//! Answers on standard output: tables for people, JSON for programs. A closed pipe ends the answer quietly.

use std::io::{self, Write};

use serde::Serialize;

/// One line to standard error; the last word of a failing command.
pub(crate) fn complain(error: &anyhow::Error) {
    // Nothing is left to tell a user whose standard error is gone.
    drop(writeln!(io::stderr(), "orderworks: {error:#}"));
}

/// A text as it stands.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    quiet_pipe(write!(io::stdout().lock(), "{text}").and_then(|()| io::stdout().flush()))
}

/// A value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    text(&format!("{}\n", serde_json::to_string(value)?))
}

/// Rows under headings, columns aligned, the last one free.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> anyhow::Result<()> {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded: Vec<_> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut out = line(headings);
    for row in rows {
        out.push_str(&line(row.each_ref().map(String::as_str)));
    }
    text(&out)
}

fn quiet_pipe(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
