//! Money: integer minor units and a currency code; all arithmetic checked.
//!
//! Does not convert currencies and does not know how many decimals a currency has: minor units are the wire format.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Largest amount of one order or payment, in minor units. Below 2^53, so that JSON readers keep it exact.
pub const AMOUNT_MINOR_MAX: i64 = 999_999_999_999;

/// An ISO 4217 currency code, three upper-case letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// The text is not a currency code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an ISO 4217 code of three upper-case letters, such as EUR")]
pub struct ParseCurrencyError;

impl Currency {
    /// The three-letter code.
    pub fn as_str(&self) -> &str {
        // Only ASCII letters are stored, see `from_str`.
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = ParseCurrencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| ParseCurrencyError)?;
        if code.iter().all(u8::is_ascii_uppercase) { Ok(Self(code)) } else { Err(ParseCurrencyError) }
    }
}

impl TryFrom<String> for Currency {
    type Error = ParseCurrencyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `price_minor * quantity`, or `None` beyond [`AMOUNT_MINOR_MAX`].
pub fn line_total(price_minor: i64, quantity: u32) -> Option<i64> {
    price_minor.checked_mul(i64::from(quantity)).filter(|total| (0..=AMOUNT_MINOR_MAX).contains(total))
}

/// The sum, or `None` beyond [`AMOUNT_MINOR_MAX`].
pub fn sum(amounts_minor: impl IntoIterator<Item = i64>) -> Option<i64> {
    amounts_minor
        .into_iter()
        .try_fold(0_i64, i64::checked_add)
        .filter(|total| (0..=AMOUNT_MINOR_MAX).contains(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currency_codes() {
        assert_eq!("EUR".parse::<Currency>().map(|c| c.to_string()), Ok("EUR".to_owned()));
        for bad in ["", "eur", "EU", "EURO", "E\u{301}R", "E1R"] {
            assert_eq!(bad.parse::<Currency>(), Err(ParseCurrencyError));
        }
    }

    #[test]
    fn totals_never_wrap() {
        assert_eq!(line_total(250, 4), Some(1000));
        assert_eq!(line_total(i64::MAX, 2), None);
        assert_eq!(line_total(AMOUNT_MINOR_MAX, 2), None);
        assert_eq!(sum([AMOUNT_MINOR_MAX, 1]), None);
        assert_eq!(sum([1, 2, 3]), Some(6));
    }
}
