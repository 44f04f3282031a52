//! Command results on standard output: tables for people, JSON for programs. A closed pipe is not an error.

use std::io::{self, Write};

use anyhow::Result;
use base::{Timestamp, chars::is_format};
use serde::Serialize;

/// Prints the error of a failed command as one line to standard error.
pub(crate) fn complain(error: &anyhow::Error) {
    // Without standard error there is no way to report the failure.
    drop(writeln!(io::stderr(), "orderworks: {error:#}"));
}

/// Prints a line to standard error, beside the result of a command that did not fail.
pub(crate) fn remark(line: &str) {
    // As in `complain`.
    drop(writeln!(io::stderr(), "orderworks: {line}"));
}

pub(crate) fn text(text: &str) -> Result<()> {
    match write!(io::stdout().lock(), "{text}").and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Prints a value as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    text(&format!("{}\n", serde_json::to_string(value)?))
}

/// Prints a value as JSON, or what it means as a text.
pub(crate) fn answer(as_json: bool, value: &impl Serialize, said: impl FnOnce() -> String) -> Result<()> {
    if as_json { json(value) } else { text(&said()) }
}

/// Prints a note on a result: below it, or to standard error where standard output is JSON.
pub(crate) fn note(as_json: bool, note: &str) -> Result<()> {
    if !as_json {
        return text(&format!("{note}\n"));
    }
    remark(note);
    Ok(())
}

/// Prints items as JSON, or as a table with a row for each and aligned columns; the last column is not padded.
pub(crate) fn list<T: Serialize, const N: usize>(
    as_json: bool,
    items: &[T],
    headings: [&str; N],
    cells: impl Fn(&T) -> [String; N],
) -> Result<()> {
    if as_json {
        return json(&items);
    }
    let rows: Vec<_> = items.iter().map(cells).collect();
    let mut widths = headings.map(str::len);
    for row in &rows {
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

/// The time from `at` to `now`, in seconds.
pub(crate) fn age(now: Timestamp, at: Timestamp) -> String {
    format!("{:.1} s", now.duration_since(at).as_secs_f64())
}

/// A text on one line of at most 200 characters. Control and format characters never reach the terminal.
pub(crate) fn one_line(text: Option<&str>) -> String {
    let shown = |c: char| if c.is_control() || is_format(c) { ' ' } else { c };
    text.unwrap_or_default().chars().map(shown).take(200).collect()
}
