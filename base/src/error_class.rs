//! Classes of errors of stores and queues, by what the caller can do about them.

use std::error::Error;

/// What follows from an error of a server or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Cannot be reached now; a write may have taken effect. Repeating it under the same ids is safe.
    Unavailable,
    /// A timeout, a lost conflict, an exhausted pool: repeating it soon may well succeed.
    Busy,
    /// A mistake in a statement, the schema or a permission: repeating it fails again until it is corrected. The
    /// default of every mapping, because an error that no rule names must reach a person and not be retried in silence.
    Defect,
    /// Stored data does not read back.
    Corrupt,
}

impl ErrorClass {
    /// Whether waiting may help, without a change to code, schema or data.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Busy)
    }

    /// The class as the predicate of a sentence about a server or file.
    pub const fn predicate(self) -> &'static str {
        match self {
            Self::Unavailable => "is unavailable",
            Self::Busy => "is busy",
            Self::Defect => "does not work as this release expects",
            Self::Corrupt => "holds corrupt data",
        }
    }
}

/// An error and its sources in one line: `outer: inner: innermost`.
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
