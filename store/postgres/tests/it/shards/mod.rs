//! Several databases: routing of merchants, and their migration from one database to another.

mod crashes;
mod memory;
mod moving;
mod replicas;
mod routing;
mod worth;

use std::{collections::BTreeMap, time::Duration};

use base::{Ambient, postgres::PostgresConfig};
use sqlx::PgPool;
use store::domain::MerchantId;
use store_postgres::merchant_migration::{Migrator, MoveError, MoveOptions, MoveReport};

use super::{needs_postgres, shop::TestMerchant};
use crate::util::{
    postgres::{Lent, pool},
    shards::{NAMES, named, sharded, two},
};

/// Lifetime of the routers' cached locations in these tests; migrations wait for twice as long.
const REMEMBERED: Duration = Duration::from_millis(300);

/// Two databases with a store over them, and a shop on the first.
struct Scene {
    databases: [Lent; 2],
    shards: BTreeMap<String, PostgresConfig>,
    shop: TestMerchant,
}

impl Scene {
    async fn open() -> Self {
        let databases = two().await;
        let shards = named(&databases);
        let ambient = Ambient::system();
        let merchant = MerchantId::fresh(&ambient);
        let store = sharded(&shards, &[(merchant, "a")], REMEMBERED).await;
        let shop = TestMerchant::of(store, ambient, merchant).await;
        shop.product("mug", 10_000).await;
        shop.product("pen", 10_000).await;
        Self { databases, shards, shop }
    }

    fn mover(&self, to: &str) -> Migrator {
        self.mover_with(to, |options| options)
    }

    fn mover_with(&self, to: &str, change: impl FnOnce(MoveOptions) -> MoveOptions) -> Migrator {
        // Small chunks, so that each table has several.
        let options = MoveOptions {
            batch_rows: 7,
            settle: REMEMBERED * 2,
            drain_max: Duration::from_secs(20),
            ..MoveOptions::default()
        };
        let (shards, merchant) = (self.shards.clone(), self.shop.merchant);
        Migrator::new(shards, merchant, to.to_owned(), change(options), self.shop.ambient.clone())
            .expect("is a shard")
    }

    async fn moved(&self, to: &str) -> Result<MoveReport, MoveError> {
        self.mover(to).run(&|_| {}).await
    }

    /// Number of the merchant's rows in a database, over all tables.
    async fn rows(&self, shard: &str) -> i64 {
        rows_of(&self.pool(shard).await, self.shop.merchant).await
    }

    async fn pool(&self, shard: &str) -> PgPool {
        let number = NAMES.iter().position(|name| *name == shard).expect("a shard");
        pool(&self.databases[number]).await
    }
}

async fn rows_of(pool: &PgPool, merchant: MerchantId) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM merchants WHERE id = $1)
        + (SELECT count(*) FROM api_keys WHERE merchant_id = $1) + (SELECT count(*) FROM products WHERE merchant_id = $1)
        + (SELECT count(*) FROM orders WHERE merchant_id = $1) + (SELECT count(*) FROM outbox WHERE merchant_id = $1)
        + (SELECT count(*) FROM idempotency_keys WHERE merchant_id = $1)
        + (SELECT count(*) FROM webhook_endpoints WHERE merchant_id = $1)
        + (SELECT count(*) FROM refunds) + (SELECT count(*) FROM mails) + (SELECT count(*) FROM webhook_attempts)";
    sqlx::query_scalar(sql).bind(merchant.0).fetch_one(pool).await.expect("counts")
}
