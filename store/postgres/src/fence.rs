//! The fence of merchants: with several databases, every write of a merchant's data checks that the merchant lives in
//! this one.
//!
//! Guarantees: a write that has passed the fence commits before a migration of its merchant proceeds; a later write is
//! rejected by the closed fence, whichever shard its process assumed. A store without a fence (the only database)
//! checks nothing.
//!
//! Mechanism: the write locks the merchant's row FOR KEY SHARE if the row is `active`. These locks conflict neither
//! with each other, nor with those of foreign keys, nor with the lock under which endpoints are counted (FOR SHARE
//! would: two writers that hold it and both need a stronger lock wait for each other). A migration closes the fence in
//! two transactions. The first sets the row to `moving` without waiting for any lock: from then on new writes find no
//! row to lock, so a stream of writes cannot starve the second. The second locks the row FOR UPDATE, which waits for
//! all writes that passed, and updates it under that lock: only an update under this lock makes a statement that began
//! before it, and locks afterwards, re-evaluate the row.

use base::{ids::Uuid, postgres::Database};
use store::domain::MerchantId;

use super::{fault::PostgresFault, row::get, transaction::Unit};

const PASS: &str = "SELECT 1 AS passed FROM merchants WHERE id = $1 AND state = 'active' FOR KEY SHARE";
pub(super) const STATE: &str = "SELECT state, moved_to FROM merchants WHERE id = $1";

/// The state of a merchant in one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MerchantState {
    /// Lives here; read and written.
    Active,
    /// Lives here; read, not written.
    Migrating,
    /// An incomplete copy; does not live here yet.
    Arriving,
    /// Lives here no longer; the remaining rows are to be deleted.
    Moved,
}

impl MerchantState {
    pub(super) fn of(text: &str) -> Result<Self, PostgresFault> {
        Ok(match text {
            "active" => Self::Active,
            "moving" => Self::Migrating,
            "arriving" => Self::Arriving,
            "moved" => Self::Moved,
            other => return Err(PostgresFault::Corrupt(format!("unknown merchant state: {other}"))),
        })
    }

    pub(super) fn is_here(self) -> bool {
        matches!(self, Self::Active | Self::Migrating)
    }
}

/// The state of a merchant in one database; `None` when it is unknown there.
pub(super) async fn state_of(
    database: &Database,
    merchant: MerchantId,
) -> Result<Option<MerchantState>, PostgresFault> {
    let row = database.row(sqlx::query(STATE).bind(merchant.0)).await?;
    row.map(|row| MerchantState::of(get(&row, "state")?)).transpose()
}

/// Keeps the merchant here until the unit ends, or returns why it cannot be written here.
pub(super) async fn pass(unit: &mut Unit, merchant: Uuid) -> Result<(), PostgresFault> {
    if unit.row(sqlx::query(PASS).bind(merchant)).await?.is_some() {
        return Ok(());
    }
    let row = unit.row(sqlx::query(STATE).bind(merchant)).await?;
    match row.map(|row| MerchantState::of(get(&row, "state")?)).transpose()? {
        // Active: a migration was aborted in between.
        Some(MerchantState::Migrating | MerchantState::Active) => Err(PostgresFault::MerchantMigrating),
        Some(MerchantState::Arriving | MerchantState::Moved) | None => Err(PostgresFault::MerchantElsewhere),
    }
}
