//! A place in a waiting room, as its shopper carries it: number, arrival and a nonce, signed with the room's key.
//!
//! Guarantees: nothing is kept of shoppers who wait. A place that was changed, made up, taken in another merchant's
//! room or in an earlier one of the same merchant does not read back. Holds no personal data and opens none.

use base::{Ambient, Timestamp};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, header};
use sha2::Sha256;
use store::domain::MerchantId;

pub(crate) const HEADER: HeaderName = HeaderName::from_static("orderworks-place");
pub(crate) const COOKIE: &str = "orderworks_place";
const PREFIX: &str = "owq_";
/// What these signatures are for, so that one of another kind under the same key would not do.
const PURPOSE: &[u8] = b"place in a waiting room";
const NUMBER_BYTES: usize = 8;
/// Number, arrival, nonce.
const SIGNED_BYTES: usize = 3 * NUMBER_BYTES;
const SIGNATURE_BYTES: usize = 32;
/// Longest text that is looked at.
const TEXT_BYTES_MAX: usize = 128;

/// A place that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoomPlace {
    pub(crate) number: u64,
    /// Milliseconds since the epoch.
    pub(crate) arrived_ms: i64,
    /// Tells apart two places of one number, of which one was taken before a database was restored.
    pub(crate) nonce: [u8; NUMBER_BYTES],
}

impl RoomPlace {
    pub(crate) fn fresh(number: u64, now: Timestamp, ambient: &Ambient) -> Self {
        Self { number, arrived_ms: now.as_millisecond(), nonce: ambient.secret() }
    }

    /// The text for the shopper; `None` for a key that no signature can be made with.
    pub(crate) fn signed(&self, merchant: MerchantId, key: &[u8; 32]) -> Option<String> {
        let mut bytes = Vec::with_capacity(SIGNED_BYTES + SIGNATURE_BYTES);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.arrived_ms.to_be_bytes());
        bytes.extend_from_slice(&self.nonce);
        let signature = signer(merchant, key, &bytes)?.finalize().into_bytes();
        bytes.extend_from_slice(&signature);
        Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The place of a text that was signed for this merchant with this key.
    pub(crate) fn verified(text: &str, merchant: MerchantId, key: &[u8; 32]) -> Option<Self> {
        let text = text.strip_prefix(PREFIX).filter(|text| text.len() <= TEXT_BYTES_MAX)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, signature) = bytes.split_at_checked(SIGNED_BYTES)?;
        // In constant time, and only for a signature of the whole length.
        signer(merchant, key, signed)?.verify_slice(signature).ok()?;
        let (number, rest) = signed.split_first_chunk()?;
        let (arrived_ms, rest) = rest.split_first_chunk()?;
        Some(Self {
            number: u64::from_be_bytes(*number),
            arrived_ms: i64::from_be_bytes(*arrived_ms),
            nonce: rest.try_into().ok()?,
        })
    }
}

fn signer(merchant: MerchantId, key: &[u8; 32], signed: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(PURPOSE);
    mac.update(merchant.0.as_bytes());
    mac.update(signed);
    Some(mac)
}

/// The text of a place that a request carries: in one header field, or in a cookie.
pub(crate) fn carried(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(HEADER).iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => return field.to_str().ok(),
        (Some(_), Some(_)) => return None,
        (None, _) => {}
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut cookies = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.split_once('='));
    cookies.find(|(name, _)| name.trim() == COOKIE).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn ambient() -> Ambient {
        Ambient::steered(5, Timestamp::from_second(1_800_000_000).expect("a time")).0
    }

    #[test]
    fn a_place_reads_back_with_its_own_key_and_merchant_only() {
        let ambient = ambient();
        let (merchant, other) = (MerchantId::fresh(&ambient), MerchantId::fresh(&ambient));
        let place = RoomPlace::fresh(41, ambient.now(), &ambient);
        let text = place.signed(merchant, &KEY).expect("signs");
        assert_eq!(RoomPlace::verified(&text, merchant, &KEY), Some(place));
        assert_eq!(RoomPlace::verified(&text, other, &KEY), None, "another merchant's");
        assert_eq!(RoomPlace::verified(&text, merchant, &[8; 32]), None, "of an earlier room");
    }

    #[test]
    fn a_changed_place_does_not_read_back() {
        let ambient = ambient();
        let merchant = MerchantId::fresh(&ambient);
        let text = RoomPlace::fresh(41, ambient.now(), &ambient).signed(merchant, &KEY).expect("signs");
        let bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).expect("base64");
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let forged = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(forged));
            assert_eq!(RoomPlace::verified(&forged, merchant, &KEY), None, "bit {bit}");
        }
        for length in 0..text.len() {
            assert_eq!(RoomPlace::verified(&text[..length], merchant, &KEY), None, "{length} bytes");
        }
        let long = format!("{text}{}", "A".repeat(TEXT_BYTES_MAX));
        assert_eq!(RoomPlace::verified(&long, merchant, &KEY), None);
    }

    #[test]
    fn a_place_is_carried_by_header_or_cookie() {
        let mut headers = HeaderMap::new();
        assert_eq!(carried(&headers), None);
        headers.insert(header::COOKIE, "a=b; orderworks_place=owq_x; c=d".parse().expect("a value"));
        assert_eq!(carried(&headers), Some("owq_x"));
        headers.insert(HEADER, "owq_y".parse().expect("a value"));
        assert_eq!(carried(&headers), Some("owq_y"));
        headers.append(HEADER, "owq_z".parse().expect("a value"));
        assert_eq!(carried(&headers), None, "which one is meant cannot be told");
    }
}
