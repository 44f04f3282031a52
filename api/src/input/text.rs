//! Rules for text: lines, paragraphs, and codes of a fixed set of characters.

use std::ops::RangeInclusive;

use base::chars::{is_format, is_joiner};
use utoipa::openapi::{Object, schema::Type};

use super::{
    node::Node,
    rules::{Rule, matching},
};

/// Text without control characters.
pub(crate) const TEXT_PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*$";
/// The same with at least one character that is not blank.
const LINE_PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";
/// The same with line breaks and tabs.
const PARAGRAPHS_PATTERN: &str = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$";

/// One line of text with at most `chars_max` characters, not blank. Control and format characters are rejected, as they
/// would change how a mail or a list shows the text around it.
pub(crate) fn line(chars_max: usize) -> impl Rule<String> {
    let read = move |node: &Node<'_>| {
        let text = node.string()?;
        if text.chars().any(char::is_control) {
            return node.fault("control_character", "control characters are not allowed");
        }
        if text.chars().any(|c| is_format(c) && !is_joiner(c)) {
            return node.fault("format_character", "invisible format characters are not allowed");
        }
        sized(node, text, chars_max)
    };
    (read, move || schema(chars_max, LINE_PATTERN))
}

/// Text of several lines: as [`line`], but line feeds, tabs and format characters are allowed.
pub(crate) fn paragraphs(chars_max: usize) -> impl Rule<String> {
    let read = move |node: &Node<'_>| {
        let text = node.string()?;
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            return node.fault("control_character", "control characters are not allowed");
        }
        sized(node, text, chars_max)
    };
    (read, move || schema(chars_max, PARAGRAPHS_PATTERN))
}

fn sized(node: &Node<'_>, text: &str, chars_max: usize) -> Option<String> {
    match text.trim().chars().count() {
        0 => node.fault("wrong_length", "expected some text"),
        chars if chars > chars_max => {
            node.fault("wrong_length", format!("expected at most {chars_max} characters"))
        }
        _ => Some(text.trim().to_owned()),
    }
}

fn schema(chars_max: usize, pattern: &str) -> Object {
    let mut schema = Object::with_type(Type::String);
    schema.min_length = Some(1);
    schema.max_length = Some(chars_max);
    schema.pattern = Some(pattern.to_owned());
    schema
}

/// A prefix, then ASCII characters of one class.
#[derive(Clone, Copy)]
pub(crate) struct Code {
    pub(super) prefix: &'static str,
    /// As between the brackets of a regular expression: characters and ranges, a dash at the end.
    pub(super) class: &'static str,
    /// Characters after the prefix at most; at least one.
    pub(super) chars_max: usize,
    /// What is expected, for people.
    pub(super) words: &'static str,
}

impl Code {
    pub(crate) fn matches(self, text: &str) -> bool {
        text.strip_prefix(self.prefix).is_some_and(|rest| {
            (1..=self.chars_max).contains(&rest.len()) && rest.bytes().all(|byte| self.contains(byte))
        })
    }

    fn contains(self, byte: u8) -> bool {
        let mut class = self.class.as_bytes();
        loop {
            let range: RangeInclusive<u8> = match class {
                [first, b'-', last, rest @ ..] => {
                    class = rest;
                    *first..=*last
                }
                [one, rest @ ..] => {
                    class = rest;
                    *one..=*one
                }
                [] => return false,
            };
            if range.contains(&byte) {
                return true;
            }
        }
    }

    pub(crate) fn pattern(self) -> String {
        let Self { prefix, class, chars_max, .. } = self;
        format!("^{prefix}[{class}]{{1,{chars_max}}}$")
    }

    pub(crate) fn rule(self) -> impl Rule<String> {
        matching(
            move |text| self.matches(text),
            self.words,
            move |schema| schema.pattern = Some(self.pattern()),
        )
    }
}
