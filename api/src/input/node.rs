//! Positions in a JSON body, and the report of their faults.

use std::cell::RefCell;

use serde_json::{Map, Value};

use crate::problem::{FieldError, Problem};

/// Faults reported at most; further faults of the same body add nothing.
pub(super) const ERRORS_MAX: usize = 100;
/// Characters shown of a client's own field name.
const NAME_CHARS_MAX: usize = 64;

/// The faults found so far.
#[derive(Default)]
pub(super) struct Report(RefCell<Vec<FieldError>>);

impl Report {
    pub(super) fn add(&self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        let mut errors = self.0.borrow_mut();
        if errors.len() < ERRORS_MAX {
            errors.push(FieldError::new(pointer, code, detail));
        }
    }

    /// The value, or a problem with all faults.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Problem> {
        let errors = self.0.into_inner();
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            _ => Err(Problem::invalid(errors)),
        }
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

/// A position in a body, with its value or without. `null` counts as absent.
pub(crate) struct Node<'v> {
    value: Option<&'v Value>,
    /// Members of the object that holds the value.
    siblings: Option<&'v Map<String, Value>>,
    pointer: String,
    report: &'v Report,
}

impl<'v> Node<'v> {
    pub(super) fn root(value: &'v Value, report: &'v Report) -> Self {
        Self { value: Some(value), siblings: None, pointer: String::new(), report }
    }

    /// Reports a fault at this position.
    pub(crate) fn fault<T>(&self, code: &'static str, detail: impl Into<String>) -> Option<T> {
        self.report.add(self.pointer.clone(), code, detail);
        None
    }

    /// Reports a fault at a position below this one; `below` is a pointer without its leading slash.
    pub(crate) fn fault_at<T>(
        &self,
        below: &str,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Option<T> {
        self.report.add(format!("{}/{below}", self.pointer), code, detail);
        None
    }

    pub(super) fn is_absent(&self) -> bool {
        self.value.is_none()
    }

    pub(super) fn present(&self) -> Option<&'v Value> {
        match self.value {
            Some(value) => Some(value),
            None => self.fault("required", "this field is required"),
        }
    }

    pub(crate) fn string(&self) -> Option<&'v str> {
        match self.present()? {
            Value::String(text) => Some(text),
            _ => self.fault("wrong_type", "expected a string"),
        }
    }

    /// The string in another member of the same object, or an empty one. Reports no fault.
    pub(crate) fn sibling_text(&self, name: &str) -> &'v str {
        self.siblings.and_then(|members| members.get(name)?.as_str()).unwrap_or_default()
    }

    /// The members of an object that has none but `known`.
    pub(crate) fn members(&self, known: &[&str]) -> Option<&'v Map<String, Value>> {
        let Value::Object(members) = self.present()? else {
            return self.fault("wrong_type", "expected an object");
        };
        let unknown = members.keys().filter(|name| !known.contains(&name.as_str())).take(ERRORS_MAX);
        unknown
            .for_each(|name| self.report.add(child(&self.pointer, name), "unknown_field", "no such field"));
        Some(members)
    }

    /// The position of one of these members of this object.
    pub(crate) fn member(&self, members: &'v Map<String, Value>, name: &str) -> Self {
        let value = members.get(name).filter(|value| !value.is_null());
        Node { value, siblings: Some(members), pointer: child(&self.pointer, name), report: self.report }
    }

    /// The position of an item of this array.
    pub(super) fn item(&self, index: usize, value: &'v Value) -> Self {
        let pointer = format!("{}/{index}", self.pointer);
        Node { value: Some(value), siblings: None, pointer, report: self.report }
    }
}
