//! Report of the faults of a request.

use std::cell::RefCell;

use crate::problem::{FieldError, Problem};

/// Faults reported at most; further faults of the same request add nothing.
pub(super) const ERRORS_MAX: usize = 100;
/// Characters shown of a client's own field name.
const NAME_CHARS_MAX: usize = 64;

#[derive(Default)]
pub(crate) struct Report(RefCell<Vec<FieldError>>);

impl Report {
    pub(crate) fn add(&self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        let mut errors = self.0.borrow_mut();
        if errors.len() < ERRORS_MAX {
            errors.push(FieldError::new(pointer, code, detail));
        }
    }

    /// All faults as one problem, if there are any.
    pub(super) fn finish(self) -> Result<(), Problem> {
        let errors = self.0.into_inner();
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
    }
}

/// JSON pointer to a member (RFC 6901).
pub(super) fn child(pointer: &str, name: &str) -> String {
    let mut below = format!("{pointer}/");
    for letter in name.chars().take(NAME_CHARS_MAX) {
        match letter {
            '~' => below.push_str("~0"),
            '/' => below.push_str("~1"),
            letter => below.push(letter),
        }
    }
    below
}
