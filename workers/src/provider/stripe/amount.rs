//! Conversion between our minor units and Stripe's.
//!
//! Ours are those of ISO 4217. Stripe's are the same but for the exceptions on its page "Supported currencies":
//! - ariary (MGA) has hundredths in ISO 4217 and none at Stripe;
//! - króna (ISK) and shilling (UGX) have no minor unit, yet Stripe wants their amounts times one hundred;
//! - dinar and rial with thousandths (BHD, JOD, KWD, OMR, TND) must be whole hundredths, sent as thousandths;
//! - forint (HUF) and Taiwan dollar (TWD) are charged with hundredths, and only *paid out* in whole units: no
//!   conversion.
//!
//! An amount that Stripe cannot take gives `None`, and is never rounded.

use store::domain::Currency;

/// Ratio of our units to Stripe's, and the divisor of every valid amount at Stripe.
fn units(currency: Currency) -> (i64, i64, i64) {
    match currency.as_str() {
        "MGA" => (100, 1, 1),
        "ISK" | "UGX" => (1, 100, 100),
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => (1, 1, 10),
        _ => (1, 1, 1),
    }
}

/// Whether Stripe can take an amount of our units.
pub fn takes(amount_minor: i64, currency: Currency) -> bool {
    to_stripe(amount_minor, currency).is_some()
}

/// An amount in Stripe's units; `None` where Stripe cannot take it.
pub(super) fn to_stripe(amount_minor: i64, currency: Currency) -> Option<i64> {
    let (ours, theirs, step) = units(currency);
    let amount = scale(amount_minor, ours, theirs)?;
    (amount > 0 && amount % step == 0).then_some(amount)
}

/// An amount of Stripe in our units; `None` where it is not whole.
pub(super) fn from_stripe(amount: i64, currency: Currency) -> Option<i64> {
    let (ours, theirs, _) = units(currency);
    scale(amount, theirs, ours)
}

/// `amount` / `from` * `to`; `None` where that is not whole or overflows.
fn scale(amount: i64, from: i64, to: i64) -> Option<i64> {
    if amount % from == 0 { (amount / from).checked_mul(to) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().expect("a currency")
    }

    #[test]
    fn amounts_are_what_stripe_documents() {
        for (minor, code, stripe) in [
            // 10.99 USD, 5 JPY, 5.12 KWD.
            (1099, "USD", Some(1099)),
            (5, "JPY", Some(5)),
            (5120, "KWD", Some(5120)),
            // Thousandths are refused, in each of the five.
            (5124, "KWD", None),
            (1001, "BHD", None),
            (1001, "JOD", None),
            (1001, "OMR", None),
            (1001, "TND", None),
            // Without hundredths at Stripe: 10.00 and 10.01 MGA.
            (1000, "MGA", Some(10)),
            (1001, "MGA", None),
            // "To charge 5 ISK, provide an amount value of 500."
            (5, "ISK", Some(500)),
            (5, "UGX", Some(500)),
            // Hundredths may be charged, though not paid out.
            (1045, "HUF", Some(1045)),
            (80_045, "TWD", Some(80_045)),
            (0, "EUR", None),
            (-1, "EUR", None),
            (i64::MAX, "ISK", None),
        ] {
            assert_eq!(to_stripe(minor, currency(code)), stripe, "{minor} {code}");
        }
    }

    #[test]
    fn all_of_stripes_zero_decimal_currencies_pass_unscaled_but_the_three_exceptions() {
        for code in "BIF CLP DJF GNF JPY KMF KRW PYG RWF VND VUV XAF XOF XPF".split(' ') {
            assert_eq!(to_stripe(1, currency(code)), Some(1), "{code}");
        }
    }

    #[test]
    fn what_went_there_comes_back() {
        for code in ["EUR", "JPY", "KWD", "MGA", "ISK", "UGX", "HUF"] {
            let amount = to_stripe(123_400, currency(code)).expect("a round amount");
            assert_eq!(from_stripe(amount, currency(code)), Some(123_400), "{code}");
        }
        assert_eq!(from_stripe(250, currency("ISK")), None, "a fraction of a króna");
    }
}
