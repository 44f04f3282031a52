//! Format of amounts in mails.

use store::domain::Currency;

/// Formats an amount, such as `12.50 EUR`, `1250 JPY`, `1.250 KWD`, with the decimals of ISO 4217, list one.
pub fn format_amount(amount_minor: i64, currency: Currency) -> String {
    let code = currency.as_str();
    let decimals: usize = match code {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        // Units of account.
        "CLF" | "UYW" => 4,
        _ => 2,
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
