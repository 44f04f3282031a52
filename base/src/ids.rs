//! Ids as they appear in the HTTP contract: a prefix that names the kind, an underscore, a UUIDv7.
//!
//! Guarantees: an id of one kind never parses as another, and [`derived`] gives the same id for the same parent and
//! label, which makes repeated publishing harmless.

use jiff::Timestamp;
use sha2::{Digest, Sha256};
#[doc(hidden)]
pub use uuid::Uuid;

/// The error for a text that is not an id of the expected kind.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("expected an id of the form `{prefix}_<uuid>`")]
pub struct ParseIdError {
    /// The expected prefix.
    pub prefix: &'static str,
}

/// A UUIDv7 that is a function of `parent` and `label`: the parent's time, then hashed bits.
///
/// With the parent's time, derived ids sort (and cluster in an index) by age.
pub fn derived(parent: Uuid, label: &str) -> Uuid {
    let hash = Sha256::new().chain_update(parent.as_bytes()).chain_update(label).finalize();
    let mut bytes = *parent.as_bytes();
    bytes[6..].copy_from_slice(&hash[..10]);
    uuid::Builder::from_bytes(bytes)
        .with_version(uuid::Version::SortRand)
        .with_variant(uuid::Variant::RFC4122)
        .into_uuid()
}

/// The time in a UUIDv7, to the millisecond; `None` for other versions.
pub fn timestamp_of(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

/// A lower bound for UUIDv7 ids of the millisecond `at`, above all earlier ones.
pub fn floor(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

/// Declares a newtype over [`Uuid`] that displays, parses and serialises as `prefix_<uuid>`.
#[macro_export]
macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $crate::ids::Uuid);

        impl $name {
            /// The text before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id.
            pub fn fresh(ambient: &$crate::Ambient) -> Self {
                Self(ambient.uuid())
            }

            /// The id derived from `parent` and `label`, see [`$crate::ids::derived`].
            pub fn derived(parent: $crate::ids::Uuid, label: &str) -> Self {
                Self($crate::ids::derived(parent, label))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0)
            }
        }

        $crate::as_text!($name);

        impl std::str::FromStr for $name {
            type Err = $crate::ids::ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(|rest| $crate::ids::Uuid::try_parse(rest).ok())
                    .map(Self)
                    .ok_or($crate::ids::ParseIdError { prefix: $prefix })
            }
        }
    };
}

/// Implements `Debug`, `Serialize` and `Deserialize` by the text that a type displays and parses.
#[macro_export]
macro_rules! as_text {
    ($name:ty) => {
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl $crate::ids::serde::Serialize for $name {
            fn serialize<S: $crate::ids::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> $crate::ids::serde::Deserialize<'de> for $name {
            fn deserialize<D: $crate::ids::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text: std::borrow::Cow<'de, str> = $crate::ids::serde::Deserialize::deserialize(from)?;
                text.parse().map_err($crate::ids::serde::de::Error::custom)
            }
        }
    };
}

#[doc(hidden)]
pub use serde;

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro declares public items, here inside a test module")]
mod tests {
    use super::*;

    typed_id!(
        /// An id of a test.
        TestId,
        "tst"
    );

    #[test]
    fn an_id_survives_its_text_and_refuses_another_prefix() {
        let id = TestId::fresh(&crate::Ambient::system());
        assert!(id.to_string().starts_with(TestId::PREFIX));
        assert_eq!(TestId::derived(id.0, "child"), TestId(derived(id.0, "child")));
        assert_eq!(id.to_string().parse::<TestId>(), Ok(id));
        assert_eq!("ord_x".parse::<TestId>(), Err(ParseIdError { prefix: "tst" }));
    }

    #[test]
    fn derivation_is_stable_distinct_and_keeps_the_time() {
        let parent = uuid::Builder::from_unix_timestamp_millis(1_700_000_000_123, &[7; 10]).into_uuid();
        let child = derived(parent, "charge");
        assert_eq!(child, derived(parent, "charge"));
        assert_ne!(child, derived(parent, "mail"));
        assert_eq!(child.get_version_num(), 7);
        assert_eq!(timestamp_of(child), timestamp_of(parent));
    }
}
