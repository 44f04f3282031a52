//! Choices of a merchant for its checkout: whether carts reserve stock, and the hooks that decide discounts, shipping
//! and taxes.
//!
//! Stored as one JSON document with the merchant; a field that a release does not know is ignored, one that is missing
//! has its default, so that the document outlives releases. Read on in [`crate::reservations`] and
//! [`crate::domain::Pricing`].

use std::{collections::BTreeMap, fmt, time::Duration};

use base::Ambient;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{domain::AdjustmentKind, names::names};

/// Longest time for which a cart may reserve stock, in minutes: an hour in which others cannot buy it.
pub const RESERVE_MINUTES_MAX: u32 = 60;

/// Random bytes in the secret of a hook.
const SECRET_BYTES: usize = 32;

/// The choices of a merchant; the default is what merchants have who chose nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckoutSettings {
    /// Minutes for which a cart at checkout reserves its items, 1 to [`RESERVE_MINUTES_MAX`]; `None`: carts reserve
    /// nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve_minutes: Option<u32>,
    /// The hook of each kind of adjustment; without one there is no adjustment of the kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<AdjustmentKind, Hook>,
}

/// A server of the merchant that decides the adjustments of one kind.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Checked when it is set and on every call.
    pub url: String,
    /// Signing secret: `whsec_` and base64 of 24 to 64 bytes. Shown to its merchant only.
    pub secret: String,
    /// What follows from a call without an answer that can be used.
    #[serde(default)]
    pub otherwise: HookOtherwise,
}

impl Hook {
    /// A hook with a secret of its own.
    pub fn fresh(url: String, otherwise: HookOtherwise, ambient: &Ambient) -> Self {
        let secret = format!("whsec_{}", STANDARD.encode(ambient.secret::<SECRET_BYTES>()));
        Self { url, secret, otherwise }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("url", &self.url)
            .field("otherwise", &self.otherwise)
            .finish_non_exhaustive()
    }
}

/// What follows where a hook gives no answer that can be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookOtherwise {
    /// There is no adjustment of the kind: no discount, free shipping, no tax.
    #[default]
    Nothing,
    /// The order is rejected, to be repeated later.
    Refuse,
}

names!(HookOtherwise, "way to go on without a hook", { Nothing => "nothing", Refuse => "refuse" });

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
        let read = |text: &str| serde_json::from_str::<CheckoutSettings>(text).expect("reads");
        assert_eq!(read("{}"), CheckoutSettings::default());
        assert_eq!(read(r#"{"of_a_later_release": 1}"#), CheckoutSettings::default());
        assert_eq!(read("{}").reserves_for(), None);
        let wrong = read(r#"{"reserve_minutes": 100000}"#);
        assert_eq!(wrong.reserves_for(), Some(Duration::from_hours(1)), "bounded");
        let hook = Hook {
            url: "https://shop.example/tax".to_owned(),
            secret: "whsec_canary".to_owned(),
            otherwise: HookOtherwise::Refuse,
        };
        assert!(!format!("{hook:?}").contains("canary"));
        let hooks = BTreeMap::from([(AdjustmentKind::Tax, hook)]);
        let stored = CheckoutSettings { reserve_minutes: Some(15), hooks };
        assert_eq!(read(&serde_json::to_string(&stored).expect("serialises")), stored);
    }
}
