//! What a merchant has chosen for its checkout: whether carts reserve stock.
//!
//! Stored as one JSON document with the merchant; a field that a release does not know is ignored, one that is missing
//! has its default, so that the document outlives releases. Read on in [`crate::reservations`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest time for which a cart may reserve stock, in minutes: an hour in which nobody else can buy it.
pub const RESERVE_MINUTES_MAX: u32 = 60;

/// The choices of a merchant; the default is what merchants have who chose nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckoutSettings {
    /// Minutes for which a cart at checkout reserves its items, 1 to [`RESERVE_MINUTES_MAX`]; `None`: carts reserve
    /// nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve_minutes: Option<u32>,
}

impl CheckoutSettings {
    /// For how long a cart reserves its items, within the bounds whatever is stored; `None`: not at all.
    pub fn reserves_for(&self) -> Option<Duration> {
        let minutes = self.reserve_minutes?.clamp(1, RESERVE_MINUTES_MAX);
        Some(Duration::from_mins(minutes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_settings_outlive_releases() {
        let read = |text| serde_json::from_str::<CheckoutSettings>(text).expect("reads");
        assert_eq!(read("{}"), CheckoutSettings::default());
        assert_eq!(read(r#"{"of_a_later_release": 1}"#), CheckoutSettings::default());
        assert_eq!(read("{}").reserves_for(), None);
        let wrong = read(r#"{"reserve_minutes": 100000}"#);
        assert_eq!(wrong.reserves_for(), Some(Duration::from_hours(1)), "bounded");
        let stored = CheckoutSettings { reserve_minutes: Some(15) };
        assert_eq!(read(&serde_json::to_string(&stored).expect("serialises")), stored);
    }
}
