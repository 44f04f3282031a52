//! Rules shared by the engines of the order store: every decision that needs no statement. For engines; callers of a
//! store need none of it.
//!
//! Guarantees: pure except for ids and time from [`base::Ambient`], so two engines that pass the same rows return the
//! same answer and write the same events. Knows no database.
//!
//! Read on in [`messages`] (which events are written), [`place_order`], [`stock`], [`transitions`], [`search`];
//! [`rows`] maps stored rows to the types of the contracts.

pub mod admission;
pub mod columns;
pub mod in_flight;
pub mod messages;
pub mod place_order;
pub mod records;
pub mod reservations;
pub mod rows;
pub mod search;
pub mod stock;
pub mod texts;
pub mod transitions;
pub mod verifications;

use crate::error::StoreError;

/// Name of the store in errors.
pub const STORE: &str = "order";

/// Stored data that breaks a rule of the schema or of the types.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub String);

impl Damage {
    /// Damage in a named column.
    pub fn column(name: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("column {name}: {error}"))
    }
}

impl From<Damage> for StoreError {
    fn from(damage: Damage) -> Self {
        Self::corrupt(STORE, damage.0)
    }
}
