//! Keeps card numbers out (PCI DSS): a body that seems to hold one is refused before anything reads it.
//!
//! A card number here is 13 to 19 digits, whole groups set apart by single spaces or dashes at most, that begin
//! with 2 to 6 (ISO/IEC 7812: what payment networks issue) and pass the Luhn check. The first digit keeps
//! timestamps (`17…`) out; UUIDs are skipped, and so are members named `sku`, which often are barcodes of 13
//! digits of which every tenth passes, and `token`, which are ours. The value is never echoed and never logged.

use serde_json::Value;

use super::fields::{ERRORS_MAX, child};
use crate::problem::{FieldError, Kind, Problem};

/// Digits of a card number (ISO/IEC 7812).
const DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// Members whose value may pass by chance: barcodes, and our own tokens, which are random digits and are never stored as
/// they are sent.
const UNSCANNED: [&str; 2] = ["sku", "token"];
/// Characters of a UUID in its text form.
const UUID_LEN: usize = 36;

/// Refuses a body with a card number anywhere in it, naming the first [`ERRORS_MAX`] places.
pub(super) fn refuse(json: &Value) -> Result<(), Problem> {
    let mut found = Vec::new();
    search(json, &Position::Root, &mut found);
    if found.is_empty() {
        return Ok(());
    }
    let errors = found.into_iter().map(|pointer| FieldError {
        pointer,
        code: "card_number_not_accepted",
        detail: "send the payment provider's token instead".to_owned(),
    });
    let detail = "the body seems to hold a card number; it was neither stored nor logged";
    Err(Problem::new(Kind::CARD_NUMBER, detail).with_errors(errors.collect()))
}

/// A position in the body, written out as a pointer only where a number is found: a pointer for each value would make
/// the work grow with the product of size and depth.
enum Position<'a> {
    Root,
    Item(&'a Position<'a>, usize),
    Member(&'a Position<'a>, &'a str),
}

impl Position<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Item(parent, index) => format!("{}/{index}", parent.pointer()),
            Self::Member(parent, name) => child(&parent.pointer(), name),
        }
    }
}

fn search(json: &Value, position: &Position<'_>, found: &mut Vec<String>) {
    match json {
        Value::String(text) if holds_card_number(text) => found.push(position.pointer()),
        Value::Number(number) if holds_card_number(&number.to_string()) => found.push(position.pointer()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                search(item, &Position::Item(position, index), found);
                if found.len() >= ERRORS_MAX {
                    return;
                }
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                if holds_card_number(name) {
                    // Naming the member would echo the number.
                    found.push(position.pointer());
                } else if !UNSCANNED.contains(&name.as_str()) {
                    search(value, &Position::Member(position, name), found);
                }
                if found.len() >= ERRORS_MAX {
                    return;
                }
            }
        }
        _ => {}
    }
}

/// Whether some run of digit groups in the text looks like a card number. One pass: each character costs the same,
/// however long the text.
fn holds_card_number(text: &str) -> bool {
    let mut run = Run::default();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if rest.as_bytes().first_chunk().is_some_and(is_uuid) {
            if run.ends() {
                return true;
            }
            rest = &rest[UUID_LEN..];
            continue;
        }
        if run.takes(next) {
            return true;
        }
        rest = &rest[next.len_utf8()..];
    }
    run.ends()
}

/// Digit groups that stand together, one separator apart. Holds no more of them than a card number has digits.
#[derive(Default)]
struct Run {
    /// The last digits, at most those of the longest card number.
    digits: Vec<u8>,
    /// Where groups begin in `digits`; only groups that are there whole.
    starts: Vec<usize>,
    /// What stood last.
    last: Last,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    #[default]
    Other,
    Digit,
    /// A separator right after a digit.
    Separator,
}

impl Run {
    /// Goes on by a character; whether a card number ended before it.
    fn takes(&mut self, next: char) -> bool {
        if let Some(digit) = next.to_digit(10).and_then(|digit| u8::try_from(digit).ok()) {
            if self.last != Last::Digit {
                self.starts.push(self.digits.len());
            }
            self.digits.push(digit);
            self.forget_long_ones();
            self.last = Last::Digit;
            return false;
        }
        let is_separator = matches!(next, ' ' | '-' | '\u{a0}' | '\u{2011}' | '\u{2013}');
        if is_separator && self.last == Last::Digit {
            self.last = Last::Separator;
            return self.is_card_number();
        }
        self.ends()
    }

    /// Ends the run; whether a card number ended with it.
    fn ends(&mut self) -> bool {
        let found = self.last == Last::Digit && self.is_card_number();
        *self = Self::default();
        found
    }

    /// What begins farther back than the longest card number is none.
    fn forget_long_ones(&mut self) {
        if self.digits.len() > *DIGITS.end() {
            self.digits.remove(0);
            self.starts.retain_mut(|start| {
                let is_whole = *start > 0;
                *start = start.saturating_sub(1);
                is_whole
            });
        }
    }

    /// Whether the digits from the beginning of some group are a number that payment networks issue.
    fn is_card_number(&self) -> bool {
        self.starts.iter().any(|&start| {
            let digits = &self.digits[start..];
            DIGITS.contains(&digits.len()) && matches!(digits[0], 2..=6) && passes_luhn(digits)
        })
    }
}

fn passes_luhn(digits: &[u8]) -> bool {
    let value = |(position, &digit): (usize, &u8)| {
        let digit = u32::from(digit);
        if position % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
    };
    digits.iter().rev().enumerate().map(value).sum::<u32>().is_multiple_of(10)
}

/// Whether this is shaped like a UUID: 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &[u8; UUID_LEN]) -> bool {
    text.iter().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn card_numbers_are_seen_in_every_dress() {
        for text in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "4242-4242-4242-4242 12/30 123",
            "4242 4242 4242 4242 123",
            "pm_5555555555554444",
            "card 378282246310005!",
            "pay with 6304000000000000000 please",
            "4222222222222",
            "30569309025904",
            "2223003122003222",
        ] {
            assert!(holds_card_number(text), "{text}");
        }
    }

    #[test]
    fn ids_and_everyday_numbers_pass() {
        for text in [
            "",
            "4242424242424241",
            "42424242424242424242",
            "pm_card_visa",
            "ord_0190a0b4-4242-4424-8242-424242424242",
            "order-1732412345678",
            "+49 30 1234567",
            "12345 Berlin, 4242 4242",
            "4242  4242  4242  4242x",
        ] {
            assert!(!holds_card_number(text), "{text}");
        }
    }

    #[test]
    fn pointers_are_told_and_names_that_are_numbers_are_not() {
        let body = json!({
            "a": ["x", {"b/c": 4_242_424_242_424_242_u64}],
            "d": {"4242424242424242": 1},
            "sku": "4242424242424242",
            "token": "owv_4242424242424242ab",
        });
        let mut found = Vec::new();
        search(&body, &Position::Root, &mut found);
        assert_eq!(found, ["/a/1/b~1c", "/d"]);
    }

    #[test]
    fn no_more_pointers_are_told_than_other_faults() {
        let numbers = vec!["4242424242424242"; 4000];
        let mut found = Vec::new();
        search(&json!({"a": numbers, "b": {"c": numbers}}), &Position::Root, &mut found);
        assert_eq!(found.len(), ERRORS_MAX);
    }

    /// The way of before, which took each group together with all that follow: it went wrong in nothing but its cost.
    fn holds_card_number_by_trying_all(text: &str) -> bool {
        let simplified = |c: char| match c {
            '0'..='9' => c,
            ' ' | '-' => '_',
            _ => 'x',
        };
        let text: String = text.chars().map(simplified).collect();
        text.split('x').flat_map(|run| run.split("__")).any(|run| {
            let groups: Vec<&str> = run.split('_').filter(|group| !group.is_empty()).collect();
            (0..groups.len()).any(|first| {
                (first..groups.len()).any(|last| {
                    let digits: Vec<u8> =
                        groups[first..=last].concat().bytes().map(|digit| digit - b'0').collect();
                    DIGITS.contains(&digits.len()) && matches!(digits[0], 2..=6) && passes_luhn(&digits)
                })
            })
        })
    }

    #[test]
    fn one_pass_finds_what_trying_all_groups_finds() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut found = 0;
        for _ in 0..20_000 {
            let length = rng.usize(0..40);
            let text: String =
                (0..length).map(|_| *rng.choice(b"0123456789424242   -x").unwrap_or(&b'x') as char).collect();
            let expected = holds_card_number_by_trying_all(&text);
            assert_eq!(holds_card_number(&text), expected, "{text}");
            found += u32::from(expected);
        }
        assert!(found > 100, "{found} of the texts hold one");
    }

    #[test]
    fn a_run_of_any_length_is_kept_short() {
        let mut run = Run::default();
        for next in "1 ".repeat(32 * 1024).chars() {
            run.takes(next);
            assert!(run.digits.len() <= *DIGITS.end() && run.starts.len() <= *DIGITS.end());
        }
    }
}
