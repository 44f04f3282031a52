//! What the engines of the order store share: every decision that needs no statement.
//!
//! Guarantees: pure but for ids and time drawn from [`base::Ambient`]; so two engines that hand in the same rows
//! answer the same and tell the same events. Does not know any database.
//!
//! Read on in [`messages`] (what is told when), [`placing`], [`stock`], [`moves`].

pub(crate) mod in_flight;
pub(crate) mod messages;
pub(crate) mod place_order;
pub(crate) mod stock;
pub(crate) mod texts;
pub(crate) mod transitions;
pub(crate) mod verifications;

use crate::error::StoreError;

/// The store's name in errors.
pub(crate) const STORE: &str = "order";

/// Stored data breaks a rule: of the schema or of the types.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Damage(pub(crate) String);

impl Damage {
    /// In a named column.
    pub(crate) fn column(name: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("column {name}: {error}"))
    }
}

impl From<Damage> for StoreError {
    fn from(damage: Damage) -> Self {
        Self::Corrupt { store: STORE, detail: damage.0 }
    }
}
