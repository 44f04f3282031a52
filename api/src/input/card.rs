//! Keeps card numbers out (PCI DSS): a body that seems to hold one is refused before anything reads it.
//!
//! A card number here is 13 to 19 digits, whole groups set apart by single spaces or dashes at most, that begin
//! with 2 to 6 (ISO/IEC 7812: what payment networks issue) and pass the Luhn check. The first digit keeps
//! timestamps (`17…`) out; UUIDs are skipped, and so are members named `sku`, which often are barcodes of 13
//! digits of which every tenth passes. The value is never echoed and never logged.

use serde_json::Value;

use super::fields::child;
use crate::problem::{FieldError, Kind, Problem};

/// Refuses a body with a card number anywhere in it, naming every place.
pub(super) fn refuse(json: &Value) -> Result<(), Problem> {
    let mut places = Vec::new();
    search(json, String::new(), &mut places);
    if places.is_empty() {
        return Ok(());
    }
    let errors = places.into_iter().map(|pointer| FieldError {
        pointer,
        code: "card_number_not_accepted",
        detail: "send the payment provider's token instead".to_owned(),
    });
    let detail = "the body seems to hold a card number; it was neither stored nor logged";
    Err(Problem::new(Kind::CARD_NUMBER, detail).with_errors(errors.collect()))
}

fn search(json: &Value, pointer: String, places: &mut Vec<String>) {
    match json {
        Value::String(text) if holds_card_number(text) => places.push(pointer),
        Value::Number(number) if holds_card_number(&number.to_string()) => places.push(pointer),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                search(item, format!("{pointer}/{index}"), places);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                if holds_card_number(name) {
                    // Naming the member would echo the number.
                    places.push(pointer.clone());
                } else if name != "sku" {
                    search(value, child(&pointer, name), places);
                }
            }
        }
        _ => {}
    }
}

/// Whether some run of digit groups in the text looks like a card number.
fn holds_card_number(text: &str) -> bool {
    let text = without_uuids(text);
    runs(&text).iter().any(|groups| {
        (0..groups.len()).any(|first| {
            let mut digits = String::new();
            groups[first..].iter().any(|group| {
                digits.push_str(group);
                is_card_number(&digits)
            })
        })
    })
}

/// Digit groups that stand together, one separator apart.
fn runs(text: &str) -> Vec<Vec<&str>> {
    let mut runs: Vec<Vec<&str>> = Vec::new();
    let mut end_of_last = None;
    let mut rest = 0;
    while let Some(start) = text[rest..].find(|c: char| c.is_ascii_digit()).map(|at| rest + at) {
        let end = text[start..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |at| start + at);
        let joined = end_of_last.is_some_and(|last: usize| {
            let mut between = text[last..start].chars();
            matches!(
                (between.next(), between.next()),
                (Some(' ' | '-' | '\u{a0}' | '\u{2011}' | '\u{2013}'), None)
            )
        });
        match runs.last_mut() {
            Some(run) if joined => run.push(&text[start..end]),
            _ => runs.push(vec![&text[start..end]]),
        }
        end_of_last = Some(end);
        rest = end;
    }
    runs
}

fn is_card_number(digits: &str) -> bool {
    (13..=19).contains(&digits.len()) && matches!(digits.as_bytes()[0], b'2'..=b'6') && passes_luhn(digits)
}

fn passes_luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0');
            if place % 2 == 0 { value } else { value * 2 / 10 + value * 2 % 10 }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The text with everything shaped like a UUID (8-4-4-4-12 hexadecimal digits) taken out.
fn without_uuids(text: &str) -> String {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let is_uuid = |candidate: &str| {
        candidate.len() == 36
            && candidate.split('-').map(str::len).eq(GROUPS)
            && candidate.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
    };
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text.get(at..at + 36).is_some_and(is_uuid) {
            kept.push('x');
            at += 36;
        } else if let Some(next) = text[at..].chars().next() {
            kept.push(next);
            at += next.len_utf8();
        }
    }
    kept
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
    fn places_are_named_and_names_that_are_numbers_are_not() {
        let body = json!({
            "a": ["x", {"b/c": 4_242_424_242_424_242_u64}],
            "d": {"4242424242424242": 1},
            "sku": "4242424242424242",
        });
        let mut places = Vec::new();
        search(&body, String::new(), &mut places);
        assert_eq!(places, ["/a/1/b~1c", "/d"]);
    }
}
