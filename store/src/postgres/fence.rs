//! The fence: with several databases, every write of a merchant's data asserts that the merchant lives in this one.
//!
//! Guarantees: a write that has passed the fence commits before a move of its merchant goes on; one that comes after finds
//! the fence shut, whatever its process believed. A store that is not fenced (the only database there is) asks nothing.
//!
//! How: the write locks the merchant's row FOR KEY SHARE if it is `active`. Those locks do not exclude each other, nor
//! those of foreign keys, nor the one under which endpoints are counted (FOR SHARE would: two writers that hold it and both
//! want more wait for each other). A move shuts the fence in two transactions. The first makes the row `moving`, without
//! waiting for anybody: from then on newcomers find no row to lock, so the second cannot be kept waiting by a crowd. That one
//! takes the row FOR UPDATE, which waits for all who passed, and updates it under that lock: an update of this strength
//! is what a statement that began before it, and locks only now, is made to look at again.

use base::ids::Uuid;

use super::{PostgresOrders, fault::PostgresFault, row::get, transaction::Unit};
use crate::domain::MerchantId;

const PASS: &str = "SELECT 1 AS passed FROM merchants WHERE id = $1 AND state = 'active' FOR KEY SHARE";
pub(super) const STATE: &str = "SELECT state, moved_to FROM merchants WHERE id = $1";

/// Whether a merchant lives in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MerchantState {
    /// Here; read and written.
    Active,
    /// Here; read, not written.
    Migrating,
    /// A copy that is being made; not here yet.
    Arriving,
    /// No longer here; what is left are rows to be deleted.
    Moved,
}

impl MerchantState {
    pub(super) fn of(text: &str) -> Result<Self, PostgresFault> {
        Ok(match text {
            "active" => Self::Active,
            "moving" => Self::Migrating,
            "arriving" => Self::Arriving,
            "moved" => Self::Moved,
            other => return Err(PostgresFault::Corrupt(format!("a merchant cannot be {other}"))),
        })
    }

    /// Whether it is here that the merchant's data are.
    pub(super) fn is_here(self) -> bool {
        matches!(self, Self::Active | Self::Migrating)
    }
}

impl PostgresOrders {
    /// The same store for writes of this merchant's data only, each of which passes the fence.
    pub(super) fn fenced(&self, merchant: MerchantId) -> Self {
        Self { fenced: Some(merchant.0), ..self.clone() }
    }

    /// What this database says of a merchant; `None` when it does not know it.
    pub(super) async fn state_of(
        &self,
        merchant: MerchantId,
    ) -> Result<Option<MerchantState>, PostgresFault> {
        let row = self.row(sqlx::query(STATE).bind(merchant.0)).await?;
        row.map(|row| MerchantState::of(get(&row, "state")?)).transpose()
    }
}

/// Holds the merchant here until the unit ends, or says why it cannot be written here.
pub(super) async fn pass(unit: &mut Unit, merchant: Uuid) -> Result<(), PostgresFault> {
    if unit.row(sqlx::query(PASS).bind(merchant)).await?.is_some() {
        return Ok(());
    }
    let row = unit.row(sqlx::query(STATE).bind(merchant)).await?;
    match row.map(|row| MerchantState::of(get(&row, "state")?)).transpose()? {
        // Active: a move was given up in between.
        Some(MerchantState::Migrating | MerchantState::Active) => Err(PostgresFault::MerchantMigrating),
        Some(MerchantState::Arriving | MerchantState::Moved) | None => Err(PostgresFault::MerchantElsewhere),
    }
}
