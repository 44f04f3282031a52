//! Order stores on a real PostgreSQL server, each in a database of its own: a copy of one that is migrated once.

use std::sync::Arc;

use base::{
    Ambient,
    postgres::{
        PostgresConfig,
        scratch::{self, Scratch},
    },
};
use sqlx::PgPool;
use store::{OrderStore, conformance::skip, postgres::PostgresOrders};
use tokio::sync::OnceCell;

/// Why tests with the server cannot run; prints it.
pub(crate) fn skipped() -> bool {
    let why = scratch::skipped();
    if let Some(why) = &why {
        skip(why);
    }
    why.is_some()
}

/// A migrated database, dropped with its owner.
pub(crate) async fn database() -> Scratch {
    static TEMPLATE: OnceCell<Scratch> = OnceCell::const_new();
    let template = TEMPLATE.get_or_init(|| async {
        let template = Scratch::create().await;
        PostgresOrders::migrate(&template.config(), Ambient::system()).await.expect("migrates");
        template
    });
    Scratch::copy_of(template.await).await
}

pub(crate) async fn open(config: &PostgresConfig) -> PostgresOrders {
    PostgresOrders::connect(config, Ambient::system()).await.expect("connects")
}

/// Connections for looking behind the store.
pub(crate) async fn pool(database: &Scratch) -> PgPool {
    let pool = base::postgres::connect(&database.config()).await.expect("connects");
    pool.pool().clone()
}

/// An opener of orders.
pub(crate) async fn orders() -> Option<(Arc<dyn OrderStore>, Scratch)> {
    opened(|config| config).await
}

/// The same, in the way that is safe behind a pooler in transaction mode.
pub(crate) async fn orders_unnamed() -> Option<(Arc<dyn OrderStore>, Scratch)> {
    opened(|config| PostgresConfig { direct_url: Some(config.url.clone()), pgbouncer: true, ..config }).await
}

async fn opened(
    change: impl FnOnce(PostgresConfig) -> PostgresConfig,
) -> Option<(Arc<dyn OrderStore>, Scratch)> {
    if skipped() {
        return None;
    }
    let database = database().await;
    // Cases race hundreds of tasks over a few connections.
    let acquire_timeout = std::time::Duration::from_secs(30);
    let config = change(PostgresConfig { acquire_timeout, ..database.config() });
    Some((Arc::new(open(&config).await), database))
}
