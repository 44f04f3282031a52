//! The section of the documentation that a bench writes.

use std::{fs, io, path::Path};

/// Replaces what stands between the marks `<!-- COMMAND: begin -->` and `… end -->`; everything else in the file stays. A
/// file without them is an error.
pub fn write_section(path: &Path, command: &str, section: &str) -> io::Result<()> {
    let mark = |end: &str| format!("<!-- {command}: {end} -->\n");
    let (begin, end) = (mark("begin"), mark("end"));
    let none = || io::Error::other(format!("{} has no section to replace", path.display()));
    let text = fs::read_to_string(path)?;
    let (before, rest) = text.split_once(&begin).ok_or_else(none)?;
    let (_, after) = rest.split_once(&end).ok_or_else(none)?;
    fs::write(path, format!("{before}{begin}{section}{end}{after}"))
}
