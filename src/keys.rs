//! API keys in clear text: drawn here, shown once, stored as hashes.

use base::Ambient;
use sha2::{Digest, Sha256};
use store::{
    domain::{KeyId, MerchantId},
    merchants::{KeyHash, KeyRecord, KeyScope, NewKey},
};

/// First characters of a key, by which its owner recognises it: 16 bits of 160 drawn ones.
const PREFIX_CHARS: usize = 12;

/// The first characters of all keys of a scope.
pub(crate) const fn start(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::Publishable => "owk_pub_",
        KeyScope::Secret => "owk_sec_",
    }
}

/// A key of 160 random bits.
pub(crate) fn draw(scope: KeyScope, ambient: &Ambient) -> String {
    format!("{}{}", start(scope), hex::encode(ambient.secret::<20>()))
}

pub(crate) fn hash(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

/// What is stored of a new key.
pub(crate) fn to_store(
    key: &str,
    merchant: MerchantId,
    scope: KeyScope,
    label: Option<String>,
    ambient: &Ambient,
) -> NewKey {
    let record = KeyRecord { id: KeyId::fresh(ambient), merchant, scope };
    NewKey { record, hash: hash(key), label, prefix: key.get(..PREFIX_CHARS).map(str::to_owned) }
}
