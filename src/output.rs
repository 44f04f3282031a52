//! Command results on standard output: tables for people, JSON for programs. A closed pipe is not an error.

use std::io::{self, Write};

use serde::Serialize;

/// Prints the error of a failed command as one line to standard error.
pub(crate) fn complain(error: &anyhow::Error) {
    // Without standard error there is no way to report the failure.
    drop(writeln!(io::stderr(), "orderworks: {error:#}"));
}

/// Prints a text unchanged.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    quiet_pipe(write!(io::stdout().lock(), "{text}").and_then(|()| io::stdout().flush()))
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    text(&format!("{}\n", serde_json::to_string(value)?))
}

/// Prints rows under headings with aligned columns; the last column is not padded.
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
