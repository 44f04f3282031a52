//! Card number detection (PCI DSS): a body that seems to hold a card number is rejected before anything else reads it.
//!
//! A card number is 13 to 19 digits, in whole groups separated by single spaces or dashes, that some payment network
//! issues ([`is_issued`]) and that pass the Luhn check. The ranges exclude date stamps (`2026…`) and timestamps
//! (`17…`). UUIDs are skipped, and so are members named `sku`, which often are barcodes of 13 digits of which every
//! tenth passes, and members named `token`, which are issued here. The number is never echoed and never logged.

use serde_json::Value;

use super::{
    issuers::is_issued,
    report::{ERRORS_MAX, child},
};
use crate::problem::{FieldError, Kind, Problem};

/// Bit `n` stands for a length of `n + 1` digits: 13 to 19 (ISO/IEC 7812).
const STARTS: u32 = 0b111_1111 << 12;
/// More than the digits of the longest card number.
const SUMS: usize = 32;
/// Members whose value may pass the check by chance: barcodes, and tokens issued here, which are random digits and are
/// never stored as they are sent.
const UNSCANNED: [&str; 2] = ["sku", "token"];
/// Characters of a UUID in its text form.
const UUID_LEN: usize = 36;
/// Index of its first dash.
const UUID_DASH: usize = 8;
/// Separators beside ASCII space and dash: no-break space, non-breaking hyphen, en dash.
const WIDE_SEPARATORS: [&str; 3] = ["\u{a0}", "\u{2011}", "\u{2013}"];

/// Rejects a body with a card number anywhere in it and names the first [`ERRORS_MAX`] positions.
pub(super) fn refuse(json: &Value) -> Result<(), Problem> {
    let mut found = Vec::new();
    search(json, &Position::Root, &mut found);
    if found.is_empty() {
        return Ok(());
    }
    let errors = found.into_iter().map(|pointer| FieldError {
        pointer,
        code: Kind::CARD_NUMBER.code,
        detail: "send the payment provider's token instead".to_owned(),
    });
    let detail = "the body seems to hold a card number; it was neither stored nor logged";
    Err(Problem::new(Kind::CARD_NUMBER, detail).with_errors(errors.collect()))
}

/// A position in the body. Written out as a pointer only where a number is found: a pointer for each value would make
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

/// Whether a run of digit groups in the text looks like a card number. One pass: each character costs the same, however
/// long the text.
fn holds_card_number(text: &str) -> bool {
    let (mut run, mut rest) = (Run::default(), text.as_bytes());
    while let Some(&first) = rest.first() {
        let (token, length) = token(first, rest);
        if run.takes(token) {
            return true;
        }
        rest = &rest[length..];
    }
    run.ends()
}

#[derive(Default, Clone, Copy)]
enum Token {
    Digit(u8),
    Separator,
    #[default]
    Other,
}

/// The first token of the text, and its bytes.
fn token(first: u8, text: &[u8]) -> (Token, usize) {
    // The dash first, as it is the rarest.
    if text.get(UUID_DASH) == Some(&b'-') && text.first_chunk().is_some_and(is_uuid) {
        return (Token::Other, UUID_LEN);
    }
    match first {
        b'0'..=b'9' => (Token::Digit(first - b'0'), 1),
        b' ' | b'-' => (Token::Separator, 1),
        ..=0x7f => (Token::Other, 1),
        // Each byte of any other character is one token.
        _ => match WIDE_SEPARATORS.iter().find(|separator| text.starts_with(separator.as_bytes())) {
            Some(separator) => (Token::Separator, separator.len()),
            None => (Token::Other, 1),
        },
    }
}

/// Adjacent digit groups, separated by one separator each. Of a long run only the end is kept, as a card number is no
/// longer.
#[derive(Default)]
struct Run {
    /// Number of digits so far.
    count: usize,
    /// Ring buffer of Luhn sums modulo 10 up to each of the last digits, indexed by `count`: one sum with the digits at
    /// odd positions doubled, one with the others doubled.
    sums: [[u8; 2]; SUMS],
    /// Ring buffer of the last digits.
    digits: [u8; SUMS],
    /// Bit `n` is set where a group began with 2 to 6 and `n` digits follow its first digit.
    starts: u32,
    /// The preceding token of the run: a separator only after a digit.
    last: Token,
}

impl Run {
    /// Processes a token; whether a card number ended before it.
    fn takes(&mut self, next: Token) -> bool {
        match (self.last, next) {
            (_, Token::Digit(digit)) => {
                self.push(digit);
                self.last = next;
                false
            }
            (Token::Digit(_), Token::Separator) => {
                self.last = next;
                self.is_card_number()
            }
            // No run has begun.
            (Token::Other, _) => false,
            _ => self.ends(),
        }
    }

    fn push(&mut self, digit: u8) {
        let begins = !matches!(self.last, Token::Digit(_)) && matches!(digit, 2..=6);
        self.starts = self.starts << 1 | u32::from(begins);
        let [even, odd] = self.sums[self.count % SUMS];
        self.digits[self.count % SUMS] = digit;
        self.count += 1;
        let doubled = if digit < 5 { digit * 2 } else { digit * 2 - 9 };
        let (to_even, to_odd) =
            if self.count.is_multiple_of(2) { (digit, doubled) } else { (doubled, digit) };
        self.sums[self.count % SUMS] = [(even + to_even) % 10, (odd + to_odd) % 10];
    }

    /// Ends the run; whether a card number ended with it.
    fn ends(&mut self) -> bool {
        let found = matches!(self.last, Token::Digit(_)) && self.is_card_number();
        (self.starts, self.last) = (0, Token::Other);
        found
    }

    /// Whether the digits from the beginning of some group to the end of the run are a card number.
    fn is_card_number(&self) -> bool {
        let mut starts = self.starts & STARTS;
        // Luhn does not double the last digit.
        let parity = self.count % 2;
        while starts != 0 {
            let length = starts.trailing_zeros() as usize + 1;
            // The Luhn sum of the digits since the beginning of the group is a multiple of 10.
            let begin = self.count - length;
            let is_valid = self.sums[self.count % SUMS][parity] == self.sums[begin % SUMS][parity];
            let prefix =
                (begin..begin + 4).fold(0, |prefix, n| prefix * 10 + u16::from(self.digits[n % SUMS]));
            if is_valid && is_issued(length, prefix) {
                return true;
            }
            starts &= starts - 1;
        }
        false
    }
}

/// Whether the text has the form of a UUID: 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &[u8; UUID_LEN]) -> bool {
    text.iter().enumerate().all(|(index, byte)| match index {
        UUID_DASH | 13 | 18 | 23 => *byte == b'-',
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
            // Serial numbers of telephones, of 15 digits, pass the Luhn check.
            "352099001761481",
            "490154203237518",
        ] {
            assert!(!holds_card_number(text), "{text}");
        }
    }

    #[test]
    fn date_stamps_and_counters_are_no_card_numbers() {
        for number in 0..200_u64 {
            for base in
                [20_261_127_000_000_u64, 2_026_112_700_000_000, 202_611_270_000_000_000, 5_000_000_000_000]
            {
                let text = (base + number).to_string();
                assert!(!holds_card_number(&text), "{text}");
            }
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

    fn passes_luhn(digits: &[u8]) -> bool {
        let value = |(position, &digit): (usize, &u8)| {
            let digit = u32::from(digit);
            if position % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        };
        digits.iter().rev().enumerate().map(value).sum::<u32>().is_multiple_of(10)
    }

    /// Reference implementation: each group together with all that follow. Correct, but of quadratic cost.
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
                    let prefix =
                        digits.iter().take(4).fold(0, |prefix, digit| prefix * 10 + u16::from(*digit));
                    is_issued(digits.len(), prefix) && passes_luhn(&digits)
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
    fn a_number_is_found_at_the_end_of_a_run_of_any_length() {
        for run in ["1 ", "7-", "0", "1 7\u{a0}"].map(|part| part.repeat(16 * 1024)) {
            let digits = run.trim_end_matches(|c: char| !c.is_ascii_digit());
            assert!(holds_card_number(&format!("{digits} 4242 4242 4242 4242")), "{run:.10}");
        }
    }
}
