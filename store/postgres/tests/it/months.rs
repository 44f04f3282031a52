//! Monthly partitions: created once by concurrent callers; dropped when expired and no longer needed.

use std::{collections::BTreeSet, time::Duration};

use base::{Ambient, testing::scratch::Scratch};
use sqlx::{AssertSqlSafe, PgPool};
use store::{
    domain::{EndpointId, EventId},
    orders::{MailRecord, Mails, Orders, PlaceOutcome},
    outbox::Outbox,
    webhooks::{WebhookAttempt, Webhooks},
};
use store_postgres::{PostgresOrders, partitions::Family};

use super::{
    needs_postgres,
    shop::{TestMerchant, at},
};
use crate::util::postgres::{migrated, open, pool};

async fn count(pool: &PgPool, table: &str) -> i64 {
    let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(sql).fetch_one(pool).await.expect("counts")
}

async fn tables(pool: &PgPool) -> BTreeSet<String> {
    let sql = "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace";
    sqlx::query_scalar(sql).fetch_all(pool).await.expect("lists").into_iter().collect()
}

/// A shop in March 2024.
async fn past(database: &Scratch) -> TestMerchant {
    let (ambient, _) = Ambient::steered(5, at("2024-03-10T12:00:00Z"));
    let store = PostgresOrders::connect(&database.config(), ambient.clone()).await.expect("connects");
    let shop = TestMerchant::new(store, ambient).await;
    shop.product("mug", 10).await;
    shop
}

#[tokio::test]
async fn months_are_made_once_by_the_first_process() {
    needs_postgres!();
    let database = migrated().await;
    let (one, two) = (open(&database.config()).await, open(&database.config()).await);
    let start = at("2031-11-30T23:59:59Z");
    let (a, b) = tokio::join!(one.create_partitions(start, 2), two.create_partitions(start, 2));
    let mut created = [a.expect("creates"), b.expect("creates")].concat();
    created.sort();
    let mut expected = Vec::new();
    for table in ["mails", "orders", "outbox", "refunds", "webhook_attempts"] {
        expected.extend(["y2031m11", "y2031m12", "y2032m01"].map(|month| format!("{table}_{month}")));
    }
    assert_eq!(created, expected);
    assert!(one.create_partitions(start, 2).await.expect("creates").is_empty(), "they are there");
}

#[tokio::test]
async fn rows_that_came_before_their_month_are_copied_into_it() {
    needs_postgres!();
    let database = migrated().await;
    let (shop, pool) = (past(&database).await, pool(&database).await);
    let early = shop.place("early", &["mug"]).await;
    assert_eq!((count(&pool, "orders_default").await, count(&pool, "outbox_default").await), (1, 2));
    // Orders are placed concurrently.
    let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
    let placing = futures::future::join_all(keys.iter().map(|key| shop.try_place(key, &["mug"])));
    let (created, placed) =
        tokio::join!(shop.store.create_partitions(at("2024-03-01T00:00:00Z"), 1), placing);
    assert_eq!(created.expect("creates").len(), 10);
    assert!(placed.iter().all(|answer| matches!(answer, Ok(PlaceOutcome::Placed { .. }))), "{placed:?}");
    assert_eq!((count(&pool, "orders_default").await, count(&pool, "orders_y2024m03").await), (0, 9));
    assert_eq!((count(&pool, "outbox_default").await, count(&pool, "outbox_y2024m03").await), (0, 10));
    assert_eq!(shop.store.order_by_id(early.id).await.expect("reads"), Some(early));
    let replayed = shop.try_place("early", &["mug"]).await.expect("answers");
    assert!(matches!(replayed, PlaceOutcome::Replayed { .. }), "a key is one over all months");
}

#[tokio::test]
async fn a_month_goes_when_nothing_in_it_is_needed() {
    needs_postgres!();
    let database = migrated().await;
    let (shop, pool) = (past(&database).await, pool(&database).await);
    let store = &shop.store;
    store.create_partitions(at("2024-03-01T00:00:00Z"), 0).await.expect("creates");
    let order = shop.place("k", &["mug"]).await;
    let mail = MailRecord {
        template: "order_confirmed".to_owned(),
        message_id: "<m>".to_owned(),
        sent_at: shop.ambient.now(),
    };
    store.record_mail(order.id.into(), mail).await.expect("records");
    let end = at("2024-04-01T00:00:00Z");
    let open_order = store.drop_partitions(Family::Orders, end).await.expect("answers");
    assert_eq!(open_order.tables, Vec::<String>::new());
    assert_eq!(open_order.kept[0], ("orders_y2024m03".to_owned(), "an order in it is open"));
    shop.pay(&order).await;
    shop.fulfil(&order).await;
    let unsent = store.drop_partitions(Family::Outbox, end).await.expect("answers");
    assert_eq!(unsent.kept, [("outbox_y2024m03".to_owned(), "a message in it is not sent")]);

    let messages = store.claim("r", 100, Duration::from_secs(30), shop.ambient.now()).await.expect("claims");
    let positions: Vec<_> = messages.iter().map(|message| message.position).collect();
    store.mark_sent(&positions, shop.ambient.now()).await.expect("marks");
    let early = store.drop_partitions(Family::Orders, at("2024-03-31T23:59:59Z")).await.expect("answers");
    assert!(early.tables.is_empty() && early.kept.is_empty(), "the month is not over by then: {early:?}");
    let dropped = store.drop_partitions(Family::Orders, end).await.expect("answers");
    assert_eq!(dropped.tables, ["orders_y2024m03", "refunds_y2024m03", "mails_y2024m03"]);
    let dropped = store.drop_partitions(Family::Outbox, end).await.expect("answers");
    assert_eq!(dropped.tables, ["outbox_y2024m03"]);
    assert_eq!(store.order_by_id(order.id).await.expect("reads"), None);
    assert!(store.mails(order.id.into()).await.expect("reads").is_empty());
    assert!(store.order_events(order.id, 0).await.expect("reads").is_empty());
    assert_eq!(
        store.drop_partitions(Family::Orders, end).await.expect("answers").tables,
        Vec::<String>::new()
    );
    assert!(!tables(&pool).await.iter().any(|table| table == "orders_y2024m03"));
    // New orders go to the partitions that the migration created.
    let now = Ambient::system();
    let present = TestMerchant { ambient: now, ..shop.clone() };
    present.place("now", &["mug"]).await;
    assert_eq!(count(&pool, "orders_default").await, 0);
}

#[tokio::test]
async fn attempts_lie_in_the_month_of_their_event() {
    needs_postgres!();
    let database = migrated().await;
    let (shop, pool) = (past(&database).await, pool(&database).await);
    shop.store.create_partitions(at("2024-03-01T00:00:00Z"), 0).await.expect("creates");
    let (endpoint, event) = (EndpointId::fresh(&shop.ambient), EventId::fresh(&shop.ambient));
    let attempt = WebhookAttempt {
        endpoint,
        event,
        order: None,
        attempt: 9,
        // A resend, long after the event.
        at: at("2026-01-01T00:00:00Z"),
        duration: Duration::from_millis(3),
        status: Some(200),
        error: None,
    };
    shop.store.record_attempt(attempt).await.expect("records");
    assert_eq!(count(&pool, "webhook_attempts_y2024m03").await, 1);
    assert!(shop.store.delivered(endpoint, event).await.expect("reads"));
    let end = at("2024-04-01T00:00:00Z");
    let dropped = shop.store.drop_partitions(Family::WebhookAttempts, end).await.expect("answers");
    assert_eq!(dropped.tables, ["webhook_attempts_y2024m03"]);
}

#[tokio::test]
async fn migrations_can_be_undone_and_done_again() {
    needs_postgres!();
    let database = Scratch::create().await;
    let config = database.config();
    let (one, two) = tokio::join!(
        PostgresOrders::migrate(&config, Ambient::system()),
        PostgresOrders::migrate(&config, Ambient::system())
    );
    one.and(two).expect("one after the other");
    let pool = pool(&database).await;
    let before = tables(&pool).await;
    assert!(before.contains("orders_default") && before.len() > 20, "{before:?}");
    let mut migrations = store_postgres::migrations();
    migrations.dangerous_set_table_name("order_store_migrations");
    migrations.undo(&pool, 0).await.expect("undoes");
    assert_eq!(tables(&pool).await, BTreeSet::from(["order_store_migrations".to_owned()]));
    PostgresOrders::migrate(&config, Ambient::system()).await.expect("migrates");
    assert_eq!(tables(&pool).await, before);
}
