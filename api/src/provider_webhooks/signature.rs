//! Stripe webhook signatures: `Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>…]`, each `v1` an HMAC-SHA256 of
//! `<t>.<body>` under the endpoint's secret (Stripe, "Verify webhook signatures manually").
//!
//! Guarantees: signatures are compared in constant time. One of several secrets is enough, so secrets can be rotated
//! without losing a webhook. A signature more than [`TOLERANCE_SECONDS`] old, or ahead, is rejected, so a recorded
//! webhook cannot be replayed later. Schemes other than `v1` are ignored, because an old scheme must not weaken the
//! check.

use base::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// Stripe's own default.
pub(super) const TOLERANCE_SECONDS: i64 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsigned {
    #[error("the Stripe-Signature header is missing or not readable")]
    Header,
    #[error("the signature is too old, or the clocks differ")]
    Time,
    #[error("no signature fits")]
    Signature,
}

pub(super) fn verify(
    secrets: &[SecretString],
    header: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Unsigned> {
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let signed_at = parts().find(|(name, _)| *name == "t").map(|(_, value)| value).ok_or(Unsigned::Header)?;
    let signatures: Vec<[u8; 32]> =
        parts().filter(|(name, _)| *name == "v1").filter_map(|(_, hex)| decode(hex)).collect();
    if signatures.is_empty() {
        return Err(Unsigned::Header);
    }
    let second: i64 = signed_at.parse().map_err(|_| Unsigned::Header)?;
    let fits = |secret: &SecretString| {
        // HMAC accepts keys of any length.
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else { return false };
        let mac = mac.chain_update(signed_at).chain_update(b".").chain_update(body);
        signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
    };
    if !secrets.iter().any(fits) {
        return Err(Unsigned::Signature);
    }
    // After the signature, so that a forger learns nothing about the clock.
    let apart = now.as_second().saturating_sub(second).saturating_abs();
    if apart > TOLERANCE_SECONDS { Err(Unsigned::Time) } else { Ok(()) }
}

fn decode(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_test_secret";
    const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
    const AT: i64 = 1_700_000_000;
    // printf '%s' '1700000000.{"id":"evt_1","object":"event"}' | openssl dgst -sha256 -hmac whsec_test_secret
    const SIGNATURE: &str = "0c8670ed117751cc551a20e35839447075c42800ea3cf3e8a2fbda99cd1e6edd";
    // The same with -hmac whsec_other.
    const OTHERS: &str = "ce486949e2e39bec553617072a9bf7c086e490c7071f3324a664d8082cf43f97";

    fn check(secrets: &[&str], header: &str, body: &[u8], at: i64) -> Result<(), Unsigned> {
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        verify(&secrets, header, body, Timestamp::from_second(at).expect("a time"))
    }

    #[test]
    fn a_signature_made_elsewhere_fits() {
        let header = format!(
            "t={AT},v1={SIGNATURE},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
        );
        assert_eq!(check(&[SECRET], &header, BODY, AT), Ok(()));
        assert_eq!(check(&[SECRET], &header.replace(',', ", "), BODY, AT), Ok(()), "with spaces");
        assert_eq!(
            check(&[SECRET], &format!("t={AT},v1={OTHERS},v1={SIGNATURE}"), BODY, AT),
            Ok(()),
            "one of two"
        );
        assert_eq!(check(&["whsec_other", SECRET], &header, BODY, AT), Ok(()), "one of two secrets");
        assert_eq!(check(&[SECRET], &format!("t={AT},v1={}", SIGNATURE.to_uppercase()), BODY, AT), Ok(()));
    }

    #[test]
    fn anything_else_does_not() {
        let header = format!("t={AT},v1={SIGNATURE}");
        let no = Err(Unsigned::Signature);
        assert_eq!(check(&[SECRET], &header, br#"{"id":"evt_2","object":"event"}"#, AT), no, "another body");
        assert_eq!(check(&["whsec_other"], &header, BODY, AT), no, "another secret");
        assert_eq!(check(&[], &header, BODY, AT), no, "no secret");
        assert_eq!(check(&[SECRET], &format!("t={},v1={SIGNATURE}", AT + 1), BODY, AT), no, "another time");
        assert_eq!(check(&[SECRET], &format!("t={AT},v1={OTHERS}"), BODY, AT), no);
        for header in [
            String::new(),
            "nonsense".to_owned(),
            format!("v1={SIGNATURE}"),
            format!("t={AT}"),
            "t=x,v1=00".to_owned(),
            format!("t={AT},v1={}", &SIGNATURE[2..]),
            format!("t={AT},v1=+{}", &SIGNATURE[1..]),
            format!("t={AT},v0={SIGNATURE}"),
        ] {
            assert_eq!(check(&[SECRET], &header, BODY, AT), Err(Unsigned::Header), "{header}");
        }
    }

    /// If the second time were compared with the clock, it would make an old signature look fresh.
    #[test]
    fn of_two_times_the_first_is_signed_and_is_the_age() {
        let fresh = AT + 310;
        for (times, expected) in [
            (format!("t={AT},t={fresh}"), Err(Unsigned::Time)),
            (format!("t={fresh},t={AT}"), Err(Unsigned::Signature)),
        ] {
            assert_eq!(
                check(&[SECRET], &format!("{times},v1={SIGNATURE}"), BODY, fresh),
                expected,
                "{times}"
            );
        }
    }

    #[test]
    fn many_wrong_signatures_are_not_one_that_fits() {
        let header = format!("t={AT}{}", format!(",v1={OTHERS}").repeat(300));
        assert_eq!(check(&[SECRET], &header, BODY, AT), Err(Unsigned::Signature));
    }

    #[test]
    fn old_and_early_ones_are_refused() {
        let header = format!("t={AT},v1={SIGNATURE}");
        for (late, expected) in
            [(300, Ok(())), (-300, Ok(())), (301, Err(Unsigned::Time)), (-301, Err(Unsigned::Time))]
        {
            assert_eq!(check(&[SECRET], &header, BODY, AT + late), expected, "{late} s");
        }
    }
}
