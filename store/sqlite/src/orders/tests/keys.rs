//! Tests of idempotency keys that were stored before keys of secret API keys had a namespace of their own.

use base::sqlite::Database;
use sqlx::migrate::Migrator;

use super::{
    super::{fault::SqliteFault, migrations},
    *,
};

/// The last schema version in which a key was stored as it was sent.
const BEFORE: i64 = 10;

#[tokio::test]
async fn keys_of_before_are_found_under_both_kinds_of_api_key() {
    let (ambient, _) = Ambient::steered(7, Timestamp::UNIX_EPOCH);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("orders.db");
    let older = migrations().iter().filter(|step| step.version <= BEFORE).cloned().collect();
    let database = Database::open(&path, &Migrator::with_migrations(older), 1).await.expect("opens");
    let (merchant, order) = (MerchantId::fresh(&ambient), OrderId::fresh(&ambient));
    let (fits, long) = ("f".repeat(248), "l".repeat(249));
    let keys = ["A-1001".to_owned(), "checkout of cart_1".to_owned(), fits.clone(), long.clone()];
    let rows =
        keys.map(|key| format!("('{merchant}', '{key}', zeroblob(32), '{order}', '{{}}', 1)")).join(", ");
    let fill = format!(
        "INSERT INTO merchants (id, name, created_at) VALUES ('{merchant}', 'Shop', 1);
         INSERT INTO orders (merchant_id, id, status, currency, total_minor, lines, customer_email, customer_name,
             payment_method, event_sequence, created_at, updated_at)
         VALUES ('{merchant}', '{order}', 'pending', 'EUR', 1, '[]', 'ada@example.com', 'Ada', 'pm', 1, 1, 1);
         INSERT INTO idempotency_keys VALUES {rows}"
    );
    let filled = database.write(|c| {
        Box::pin(async move {
            sqlx::raw_sql(sqlx::AssertSqlSafe(fill)).execute(c).await?;
            Ok::<_, SqliteFault>(())
        })
    });
    filled.await.expect("fills");
    database.close().await;
    drop(database);

    let store = SqliteOrders::open(&path, ambient).await.expect("opens");
    let sql = "SELECT key FROM idempotency_keys WHERE order_id = ?1 AND body = '{}' ORDER BY key";
    let kept: Vec<String> = sqlx::query_scalar(sql)
        .bind(order.to_string())
        .fetch_all(store.database.readers())
        .await
        .expect("reads");
    let mut expected =
        vec!["A-1001".to_owned(), "secret A-1001".to_owned(), "checkout of cart_1".to_owned(), long];
    expected.extend([format!("secret {fits}"), fits]);
    expected.sort();
    assert_eq!(kept, expected);
    let order = store.order(merchant, order).await.expect("reads").expect("is there");
    assert_eq!((order.account, order.token), (None, None));
}
