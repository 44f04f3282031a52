//! Result of a piece, and the body size that all clients share.

use std::collections::BTreeMap;

/// Bytes of a message body, the same for all clients that choose their own body.
pub(crate) const BODY_BYTES: usize = 300;
/// Figures of a piece by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// Filler with which `{"filler":"…"}` has [`BODY_BYTES`].
pub(crate) fn filler() -> String {
    "x".repeat(BODY_BYTES - r#"{"filler":""}"#.len())
}
