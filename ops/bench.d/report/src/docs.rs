//! Sections of the documentation that a benchmark writes.

use std::{fs, io, path::Path};

use crate::report::Report;

impl Report {
    /// The report to print for `command`, as JSON or Markdown. If `docs` is given, also replaces the command's section
    /// in that file.
    pub fn told(&self, command: &str, docs: Option<&Path>, as_json: bool) -> io::Result<String> {
        // Before the file is written, because that would mark the checkout as changed.
        let markdown = self.markdown();
        let text = if as_json { format!("{}\n", self.json()) } else { markdown.clone() };
        if let Some(path) = docs {
            write_section(path, command, &markdown)?;
        }
        Ok(text)
    }
}

/// Replaces the text between the marks `<!-- COMMAND: begin -->` and `… end -->`; the rest of the file stays. A file
/// without the marks is an error.
pub fn write_section(path: &Path, command: &str, section: &str) -> io::Result<()> {
    let mark = |end: &str| format!("<!-- {command}: {end} -->\n");
    let (begin, end) = (mark("begin"), mark("end"));
    let none = || io::Error::other(format!("{} has no section to replace", path.display()));
    let text = fs::read_to_string(path)?;
    let (before, rest) = text.split_once(&begin).ok_or_else(none)?;
    let (_, after) = rest.split_once(&end).ok_or_else(none)?;
    fs::write(path, format!("{before}{begin}{section}{end}{after}"))
}
