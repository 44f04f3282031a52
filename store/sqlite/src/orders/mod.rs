//! Orders, catalog, outbox and webhooks in one SQLite file.
//!
//! Guarantees: every write is one [unit](transaction), so it is atomic and durable when answered. Units run one
//! after another: a value that a unit has read cannot change before the unit ends. Reads run concurrently with the
//! writer. Start with [`place_order`], the hot path; the schema is in `migrations/sqlite/orders`.

mod admission;
mod audit;
mod catalog;
mod customers;
mod erasures;
pub(crate) mod fault;
mod mails;
mod merchants;
mod missing_words;
mod order_flow;
mod order_records;
mod order_row;
mod outbox;
mod place_order;
mod product_lists;
mod product_words;
mod refunds;
mod reservations;
mod stock;
#[cfg(test)]
mod tests;
mod transaction;
mod transitions;
mod verifications;
mod webhooks;

use std::path::Path;

use base::{
    Ambient,
    sqlite::{Database, OpenError},
};
use store::rules::in_flight::InFlight;
use tokio::sync::watch;

/// Readers beside the writer: reads are short, and the reference machine has two cores.
const READERS_MAX: u32 = 4;

/// The order store in a SQLite file. Clones share the file.
#[derive(Clone)]
pub struct SqliteOrders {
    database: Database,
    ambient: Ambient,
    in_flight: InFlight,
    arrivals: watch::Sender<u64>,
}

impl SqliteOrders {
    /// Opens (or creates) the file and brings its schema up to date.
    pub async fn open(path: &Path, ambient: Ambient) -> Result<Self, OpenError> {
        let database = Database::open(path, &migrations(), READERS_MAX).await?;
        missing_words::add(&database)
            .await
            .map_err(|fault| OpenError::Rows { path: path.display().to_string(), source: fault.into() })?;
        Ok(Self { database, ambient, in_flight: InFlight::default(), arrivals: watch::Sender::new(0) })
    }

    /// Closes the readers; the writer stops once every clone is gone.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

fn migrations() -> sqlx::migrate::Migrator {
    base::migrations!(
        "../../migrations/sqlite/orders",
        [
            "0001_merchants",
            "0002_products",
            "0003_orders",
            "0004_idempotency_keys",
            "0005_refunds",
            "0006_mails",
            "0007_outbox",
            "0008_webhooks",
            "0009_customers",
            "0010_audit",
            "0011_order_access",
            "0012_verifications",
            "0013_disabled_endpoints",
            "0014_refund_ends",
            "0015_refund_requests",
            "0016_debits",
            "0017_previous_secrets",
            "0018_product_search",
            "0019_api_key_notes",
            "0020_orders_by_customer",
            "0021_product_words",
            "0022_customer_erasures",
            "0023_ended_orders",
            "0024_waiting_rooms",
            "0025_cart_reservations",
            "0026_adjustments"
        ]
    )
}
