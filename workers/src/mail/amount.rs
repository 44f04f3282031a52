//! Format of amounts in mails.

use store::domain::Currency;

/// Currencies without minor units (ISO 4217, list one).
const NO_DECIMALS: [&str; 17] = [
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
    "XOF", "XPF",
];
/// Currencies with thousandths (ISO 4217, list one).
const THREE_DECIMALS: [&str; 7] = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];

/// Currencies with ten-thousandths (ISO 4217, list one): units of account.
const FOUR_DECIMALS: [&str; 2] = ["CLF", "UYW"];

/// Formats an amount, such as `12.50 EUR`, `1250 JPY`, `1.250 KWD`.
pub fn format_amount(amount_minor: i64, currency: Currency) -> String {
    let code = currency.as_str();
    let decimals: usize = if NO_DECIMALS.contains(&code) {
        0
    } else if THREE_DECIMALS.contains(&code) {
        3
    } else if FOUR_DECIMALS.contains(&code) {
        4
    } else {
        2
    };
    let sign = if amount_minor < 0 { "-" } else { "" };
    // At least one digit stands before the point.
    let digits = format!("{:0>width$}", amount_minor.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let point = if decimals == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction} {code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_currency_has_its_decimals() {
        for (minor, code, shown) in [
            (1250, "EUR", "12.50 EUR"),
            (5, "USD", "0.05 USD"),
            (0, "GBP", "0.00 GBP"),
            (1250, "JPY", "1250 JPY"),
            (1250, "KWD", "1.250 KWD"),
            (0, "JPY", "0 JPY"),
            (7, "KWD", "0.007 KWD"),
            (-45, "BHD", "-0.045 BHD"),
            (12_500, "CLF", "1.2500 CLF"),
            (i64::MIN, "JPY", "-9223372036854775808 JPY"),
            (i64::MAX, "TND", "9223372036854775.807 TND"),
            (-1999, "CHF", "-19.99 CHF"),
        ] {
            assert_eq!(format_amount(minor, code.parse().expect("a currency")), shown);
        }
    }
}
