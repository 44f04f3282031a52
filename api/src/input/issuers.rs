//! Ranges of card numbers that payment networks issue.

/// Whether a payment network issues numbers of this length that begin with these four digits (the networks' published
/// ranges; ISO/IEC 7812).
pub(super) fn is_issued(length: usize, prefix: u16) -> bool {
    match length {
        // Visa.
        13 => matches!(prefix, 4000..=4999),
        // Diners Club.
        14 => matches!(prefix, 3000..=3059 | 3095 | 3600..=3699 | 3800..=3999),
        // American Express.
        15 => matches!(prefix, 3400..=3499 | 3700..=3799),
        // The same and Mastercard, Mir.
        16 if matches!(prefix, 2200..=2204 | 2221..=2720 | 5100..=5599) => true,
        16 | 19 if matches!(prefix, 4000..=4999) => true,
        // Diners Club, JCB, Maestro, Discover, UnionPay, RuPay.
        16..=19 => matches!(
            prefix,
            3000..=3059 | 3095 | 3528..=3589 | 3600..=3699 | 3800..=3999 | 5000..=5099 | 5600..=6999
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn test_cards_of_the_networks_are_issued() {
        for number in [
            "5105105105105100",
            "2200000000000004",
            "3530111333300000",
            "6011000990139424",
            "6200000000000005",
            "5018000000000009",
            "36227206271667",
        ] {
            let prefix = number[..4].parse().expect("digits");
            assert!(super::is_issued(number.len(), prefix), "{number}");
        }
    }
}
