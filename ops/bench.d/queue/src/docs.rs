//! The section of the documentation that this bench writes.

use std::{fs, path::Path};

use anyhow::Context;

const BEGIN: &str = "<!-- ops/bench queue: begin -->\n";
const END: &str = "<!-- ops/bench queue: end -->\n";

/// Replaces what stands between the marks; everything else in the file stays.
pub(crate) fn write(path: &Path, section: &str) -> anyhow::Result<()> {
    let told = || format!("{} has no section to replace", path.display());
    let text = fs::read_to_string(path).with_context(told)?;
    let (before, rest) = text.split_once(BEGIN).with_context(told)?;
    let (_, after) = rest.split_once(END).with_context(told)?;
    Ok(fs::write(path, format!("{before}{BEGIN}{section}{END}{after}"))?)
}
