//! Amounts as people of a language write them, with the decimals of the currency.
//!
//! Guarantees: exact, as no floating point is used. Does not convert currencies, and knows the signs of four; others
//! stand by their ISO 4217 code.

use super::texts::Language;

/// Currencies without decimals, with three and with four (ISO 4217); all others have two.
const NONE: [&str; 16] = [
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF",
    "XPF",
];
const THREE: [&str; 7] = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];
const FOUR: [&str; 2] = ["CLF", "UYW"];
/// Digits of a group before the decimals.
const GROUP: usize = 3;

fn decimals(currency: &str) -> usize {
    match currency {
        code if NONE.contains(&code) => 0,
        code if THREE.contains(&code) => 3,
        code if FOUR.contains(&code) => 4,
        _ => 2,
    }
}

/// The amount of so many minor units.
pub(super) fn money(minor: i64, currency: &str, language: Language) -> String {
    let (number, sign) = (number(minor, decimals(currency), language), sign(currency));
    match (language, sign) {
        (Language::German, sign) => format!("{number}\u{a0}{}", sign.unwrap_or(currency)),
        (_, Some(sign)) => match number.strip_prefix('-') {
            Some(number) => format!("-{sign}{number}"),
            None => format!("{sign}{number}"),
        },
        (_, None) => format!("{currency}\u{a0}{number}"),
    }
}

fn sign(currency: &str) -> Option<&'static str> {
    match currency {
        "EUR" => Some("€"),
        "GBP" => Some("£"),
        "JPY" => Some("¥"),
        "USD" => Some("$"),
        _ => None,
    }
}

fn number(minor: i64, decimals: usize, language: Language) -> String {
    let (group, point) = if language == Language::German { ('.', ',') } else { (',', '.') };
    let digits = format!("{:0width$}", minor.unsigned_abs(), width = decimals + 1);
    let (whole, part) = digits.split_at(digits.len() - decimals);
    let mut text = String::from(if minor < 0 { "-" } else { "" });
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(GROUP) {
            text.push(group);
        }
        text.push(digit);
    }
    if decimals > 0 {
        text.push(point);
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_decimals_of_their_currency_and_the_marks_of_the_language() {
        for (minor, currency, language, expected) in [
            (1250, "EUR", Language::English, "€12.50"),
            (1250, "EUR", Language::German, "12,50\u{a0}€"),
            (5, "EUR", Language::English, "€0.05"),
            (0, "USD", Language::English, "$0.00"),
            (123_456_789, "EUR", Language::German, "1.234.567,89\u{a0}€"),
            (1250, "JPY", Language::Japanese, "¥1,250"),
            (980, "JPY", Language::German, "980\u{a0}¥"),
            (1_234_567, "KWD", Language::English, "KWD\u{a0}1,234.567"),
            (7, "KWD", Language::German, "0,007\u{a0}KWD"),
            (-250, "CHF", Language::English, "CHF\u{a0}-2.50"),
            (-250, "EUR", Language::English, "-€2.50"),
            (-250, "EUR", Language::German, "-2,50\u{a0}€"),
            (999_999_999_999, "GBP", Language::English, "£9,999,999,999.99"),
        ] {
            assert_eq!(money(minor, currency, language), expected);
        }
    }
}
