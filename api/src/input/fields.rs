//! Reader of JSON fields that collects every fault with its position.

use std::{cell::RefCell, ops::RangeInclusive};

use base::chars::{is_format, is_joiner};
use serde_json::{Map, Value};

use crate::problem::{FieldError, Problem};

/// Faults reported at most; further faults of the same body add nothing.
pub(super) const ERRORS_MAX: usize = 100;
/// Characters shown of a client's own field name.
const NAME_CHARS_MAX: usize = 64;

/// The faults found so far.
#[derive(Default)]
pub(crate) struct Report(RefCell<Vec<FieldError>>);

impl Report {
    pub(crate) fn add(&self, pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) {
        let mut errors = self.0.borrow_mut();
        if errors.len() < ERRORS_MAX {
            errors.push(FieldError::new(pointer, code, detail));
        }
    }

    /// The value, or a problem with all faults.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Problem> {
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
    pointer: String,
    report: &'v Report,
}

/// An object whose members are being read.
pub(crate) struct Object<'v> {
    members: &'v Map<String, Value>,
    pointer: String,
    report: &'v Report,
}

impl<'v> Node<'v> {
    pub(super) fn root(value: &'v Value, report: &'v Report) -> Self {
        Self { value: Some(value), pointer: String::new(), report }
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

    /// Reads the value if there is one. `None` after a fault as well; [`Report::finish`] tells both apart.
    pub(crate) fn optional<T>(&self, read: impl FnOnce(&Self) -> Option<T>) -> Option<T> {
        self.value.and_then(|_| read(self))
    }

    fn present(&self) -> Option<&'v Value> {
        match self.value {
            Some(value) => Some(value),
            None => self.fault("required", "this field is required"),
        }
    }

    /// An object that has no members but `known`.
    pub(crate) fn object(&self, known: &[&str]) -> Option<Object<'v>> {
        let Value::Object(members) = self.present()? else {
            return self.fault("wrong_type", "expected an object");
        };
        let unknown = members.keys().filter(|name| !known.contains(&name.as_str())).take(ERRORS_MAX);
        unknown
            .for_each(|name| self.report.add(child(&self.pointer, name), "unknown_field", "no such field"));
        Some(Object { members, pointer: self.pointer.clone(), report: self.report })
    }

    /// An array with its length in bounds, each item read. `None` if any item has a fault.
    pub(crate) fn array<T>(
        &self,
        length: RangeInclusive<usize>,
        read: impl Fn(&Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Array(items) = self.present()? else {
            return self.fault("wrong_type", "expected an array");
        };
        if !length.contains(&items.len()) {
            let (min, max) = (length.start(), length.end());
            return self.fault("wrong_length", format!("expected {min} to {max} items"));
        }
        let nodes = items.iter().enumerate().map(|(index, value)| Self {
            value: Some(value),
            pointer: format!("{}/{index}", self.pointer),
            report: self.report,
        });
        let read: Vec<Option<T>> = nodes.map(|node| read(&node)).collect();
        read.into_iter().collect()
    }

    pub(crate) fn string(&self) -> Option<&'v str> {
        match self.present()? {
            Value::String(text) => Some(text),
            _ => self.fault("wrong_type", "expected a string"),
        }
    }

    /// The string at this position, or an empty one. Reports no fault.
    pub(crate) fn text_or_empty(&self) -> &'v str {
        self.value.and_then(Value::as_str).unwrap_or_default()
    }

    /// One line of text with at most `chars_max` characters, not blank. Control and format characters are rejected, as
    /// they would change how a mail or a list shows the text around it.
    pub(crate) fn line(&self, chars_max: usize) -> Option<String> {
        let text = self.string()?;
        if text.chars().any(char::is_control) {
            return self.fault("control_character", "control characters are not allowed");
        }
        if text.chars().any(|c| is_format(c) && !is_joiner(c)) {
            return self.fault("format_character", "invisible format characters are not allowed");
        }
        self.sized(text, chars_max)
    }

    /// Text of several lines: as [`Node::line`], but with line feeds and tabs allowed.
    pub(crate) fn text(&self, chars_max: usize) -> Option<String> {
        let text = self.string()?;
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            return self.fault("control_character", "control characters are not allowed");
        }
        self.sized(text, chars_max)
    }

    fn sized(&self, text: &str, chars_max: usize) -> Option<String> {
        match text.trim().chars().count() {
            0 => self.fault("wrong_length", "expected some text"),
            chars if chars > chars_max => {
                self.fault("wrong_length", format!("expected at most {chars_max} characters"))
            }
            _ => Some(text.trim().to_owned()),
        }
    }

    /// A string that satisfies a rule; `words` describe the rule.
    pub(crate) fn matching(&self, rule: impl Fn(&str) -> bool, words: &str) -> Option<String> {
        let text = self.string()?;
        if rule(text) {
            Some(text.to_owned())
        } else {
            self.fault("wrong_format", format!("expected {words}"))
        }
    }

    /// A string that parses as `T`.
    pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self) -> Option<T> {
        // Only for error types that do not quote their input: the client sees the message.
        match self.string()?.parse() {
            Ok(value) => Some(value),
            Err(error) => self.fault("wrong_format", T::Err::to_string(&error)),
        }
    }

    /// An integer in bounds.
    pub(crate) fn integer(&self, bounds: RangeInclusive<i64>) -> Option<i64> {
        let value = self.present()?;
        if !value.is_number() {
            return self.fault("wrong_type", "expected a whole number");
        }
        let whole =
            value.as_i64().or_else(|| whole(value.as_f64()?)).filter(|number| bounds.contains(number));
        if whole.is_none() {
            let (min, max) = (bounds.start(), bounds.end());
            return self.fault("out_of_range", format!("expected a whole number from {min} to {max}"));
        }
        whole
    }

    /// A boolean.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.present()? {
            Value::Bool(value) => Some(*value),
            _ => self.fault("wrong_type", "expected true or false"),
        }
    }
}

impl<'v> Object<'v> {
    /// The member with this name.
    pub(crate) fn field(&self, name: &str) -> Node<'v> {
        let value = self.members.get(name).filter(|value| !value.is_null());
        Node { value, pointer: child(&self.pointer, name), report: self.report }
    }
}

/// An integer written as a float: `2.0` is 2 (JSON Schema core, section 4.2.3). Beyond 2^53 a float is not exact.
fn whole(number: f64) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let is_whole = number.fract() == 0.0 && number.abs() <= EXACT_MAX;
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
    is_whole.then_some(number as i64)
}
