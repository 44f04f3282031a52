//! Proof of work: a text found by trying, bound to the idempotency key of one order.
//!
//! Guarantees: a proof serves one order, as a repetition under its key places no second one; checking it costs one hash
//! and no state. Does not tell people from programs: it makes many orders dear and one cheap.

use http::HeaderMap;
use sha2::{Digest, Sha256};

const HEADER: &str = "orderworks-proof";
/// Longest text; numbers of 64 bits have 20 digits.
const TEXT_BYTES_MAX: usize = 64;

/// Whether the request carries one proof of so many bits. A malformed one counts as none.
pub(super) fn is_valid(headers: &HeaderMap, idempotency_key: &str, bits: u32) -> bool {
    let mut values = headers.get_all(HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let text = value.to_str().ok().filter(|text| (1..=TEXT_BYTES_MAX).contains(&text.len()));
    text.is_some_and(|text| zero_bits(&Sha256::digest(format!("{idempotency_key}:{text}"))) >= bits)
}

/// Zero bits at the beginning.
fn zero_bits(hash: &[u8]) -> u32 {
    let mut bits = 0;
    for byte in hash {
        bits += byte.leading_zeros();
        if *byte != 0 {
            break;
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_proven(key: &str, proofs: &[&str], bits: u32) -> bool {
        let mut headers = HeaderMap::new();
        for proof in proofs {
            headers.append(HEADER, proof.parse().expect("a header value"));
        }
        is_valid(&headers, key, bits)
    }

    #[test]
    fn a_proof_is_found_by_trying_and_serves_one_key() {
        let found = (0..100_000).map(|n: u32| n.to_string()).find(|text| is_proven("k1", &[text], 8));
        let found = found.expect("one in 256");
        assert!(!is_proven("k1", &[&found, &found], 8) && !is_proven("k1", &[], 0));
        assert!(!is_proven("k1", &[&found], 200));
        let others = (0..200).filter(|n| is_proven(&format!("other {n}"), &[&found], 8)).count();
        assert!(others < 20, "{others} of 200");
        assert!(is_proven("k1", &["x"], 0) && !is_proven("k1", &[&"x".repeat(TEXT_BYTES_MAX + 1)], 0));
    }

    #[test]
    fn zero_bits_are_counted_from_the_left() {
        assert_eq!([&[0x80][..], &[0x00, 0x1f], &[0x00, 0x00], &[]].map(zero_bits), [0, 11, 16, 0]);
    }
}
