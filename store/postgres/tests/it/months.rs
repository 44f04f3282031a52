//! Monthly partitions: created once by concurrent callers; dropped when expired and no longer needed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base::{Ambient, postgres::PostgresConfig, testing::scratch::Scratch, time::later};
use futures::future::join_all;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use store::{
    domain::{EndpointId, EventId, Order, OrderStatus, PaymentId, RefundId},
    orders::{MailRecord, Mails, Orders, PlaceOutcome, RefundFacts, Transition},
    outbox::Outbox,
    webhooks::{WebhookAttempt, Webhooks},
};
use store_postgres::{
    PostgresOrders,
    partitions::{Dropped, Family},
};

use super::{
    faults::until_one_waits,
    needs_postgres,
    shop::{TestMerchant, at},
};
use crate::util::postgres::{migrated, open, patient, pool};

/// A retention.
const KEEP: Duration = Duration::from_hours(30 * 24);

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
    // Creating partitions makes the other statements wait; on a busy machine for long.
    let config = PostgresConfig { lock_timeout: Duration::from_secs(30), ..patient(database) };
    let store = PostgresOrders::connect(&config, ambient.clone()).await.expect("connects");
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
    let placing = join_all(keys.iter().map(|key| shop.try_place(key, &["mug"])));
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

/// Makes each row that leaves a default partition take its time, as many rows do.
const SLOW: &str = "
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.1); RETURN OLD; END';
    CREATE TRIGGER slow BEFORE DELETE ON orders_default FOR EACH ROW EXECUTE FUNCTION slow();
    CREATE TRIGGER slow BEFORE DELETE ON outbox_default FOR EACH ROW EXECUTE FUNCTION slow()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_move_into_their_month_are_read_and_written_meanwhile() {
    needs_postgres!();
    let database = migrated().await;
    let shop = past(&database).await;
    let mut orders = Vec::new();
    for n in 0..6 {
        orders.push(shop.place(&format!("k{n}"), &["mug"]).await);
    }
    pool(&database).await.execute(SLOW).await.expect("slows");
    let creating = tokio::spawn({
        let store = Arc::clone(&shop.store);
        async move { store.create_partitions(at("2024-03-01T00:00:00Z"), 0).await }
    });
    let in_use = async |order: &Order| {
        let event = shop.store.order_events(order.id, 0).await.expect("reads").remove(0).id;
        shop.pay(order).await;
        let mut reads = 0;
        while !creating.is_finished() || reads == 0 {
            let read = shop.store.order_by_id(order.id).await.expect("reads");
            assert_eq!(read.map(|order| order.status), Some(OrderStatus::Paid));
            assert!(shop.store.event_by_id(event).await.expect("reads").is_some());
            assert_eq!(shop.store.order_events(order.id, 0).await.expect("reads").len(), 3);
            reads += 1;
        }
        shop.fulfil(order).await;
    };
    join_all(orders.iter().map(in_use)).await;
    assert_eq!(creating.await.expect("ends").expect("creates").len(), 5);
    assert_eq!(count(&pool(&database).await, "orders_default").await, 0);
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
    let open_order = store.drop_partitions(Family::Orders, end, Duration::ZERO).await.expect("answers");
    assert_eq!(open_order.tables, Vec::<String>::new());
    assert_eq!(open_order.kept[0], ("orders_y2024m03".to_owned(), "an order in it is open"));
    shop.pay(&order).await;
    shop.fulfil(&order).await;
    let unsent = store.drop_partitions(Family::Outbox, end, Duration::ZERO).await.expect("answers");
    assert_eq!(unsent.kept, [("outbox_y2024m03".to_owned(), "a message in it is not sent")]);

    let messages = store.claim("r", 100, Duration::from_secs(30), shop.ambient.now()).await.expect("claims");
    let positions: Vec<_> = messages.iter().map(|message| message.position).collect();
    store.mark_sent(&positions, shop.ambient.now()).await.expect("marks");
    let early = store
        .drop_partitions(Family::Orders, at("2024-03-31T23:59:59Z"), Duration::ZERO)
        .await
        .expect("answers");
    assert!(early.tables.is_empty() && early.kept.is_empty(), "the month is not over by then: {early:?}");
    let dropped = store.drop_partitions(Family::Orders, end, Duration::ZERO).await.expect("answers");
    assert_eq!(dropped.tables, ["orders_y2024m03", "refunds_y2024m03", "mails_y2024m03"]);
    let dropped = store.drop_partitions(Family::Outbox, end, Duration::ZERO).await.expect("answers");
    assert_eq!(dropped.tables, ["outbox_y2024m03"]);
    assert_eq!(store.order_by_id(order.id).await.expect("reads"), None);
    assert!(store.mails(order.id.into()).await.expect("reads").is_empty());
    assert!(store.order_events(order.id, 0).await.expect("reads").is_empty());
    assert_eq!(
        store.drop_partitions(Family::Orders, end, Duration::ZERO).await.expect("answers").tables,
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
async fn a_month_with_a_refund_that_is_not_recorded_stays() {
    needs_postgres!();
    let database = migrated().await;
    let shop = past(&database).await;
    shop.store.create_partitions(at("2024-03-01T00:00:00Z"), 0).await.expect("creates");
    let order = shop.place("k", &["mug"]).await;
    shop.pay(&order).await;
    shop.fulfil(&order).await;
    let (refund, now) = (RefundId::fresh(&shop.ambient), shop.ambient.now());
    shop.store.request_refund(shop.merchant, order.id, refund, Some(100), now).await.expect("answers");
    let drop_old = || shop.store.drop_partitions(Family::Orders, at("2024-04-01T00:00:00Z"), Duration::ZERO);
    let kept = drop_old().await.expect("answers");
    assert_eq!((kept.tables.len(), kept.kept[0].1), (0, "a refund in it is not recorded"));
    let facts =
        RefundFacts { payment: PaymentId::of_order(order.id), refund, amount_minor: 100, failure: None };
    let recorded = shop.store.record_refund(order.id, facts, now).await.expect("answers");
    assert!(matches!(recorded, Transition::Now(_)), "{recorded:?}");
    assert_eq!(drop_old().await.expect("answers").tables.len(), 3);
}

#[tokio::test]
async fn a_month_whose_refund_is_requested_while_it_is_dropped_stays() {
    needs_postgres!();
    let database = migrated().await;
    let (shop, pool) = (past(&database).await, pool(&database).await);
    shop.store.create_partitions(at("2024-03-01T00:00:00Z"), 0).await.expect("creates");
    let order = shop.place("k", &["mug"]).await;
    shop.pay(&order).await;
    shop.fulfil(&order).await;
    let mut requesting = pool.begin().await.expect("begins");
    let (order, refund) = (order.id.0, RefundId::fresh(&shop.ambient).0);
    let sql = format!(
        "INSERT INTO refunds (order_id, id, amount_minor, requested_at) VALUES ('{order}', '{refund}', 100, now())"
    );
    requesting.execute(AssertSqlSafe(sql)).await.expect("requests");
    let dropping = tokio::spawn({
        let store = Arc::clone(&shop.store);
        async move { store.drop_partitions(Family::Orders, at("2024-04-01T00:00:00Z"), Duration::ZERO).await }
    });
    until_one_waits(&pool).await;
    requesting.commit().await.expect("commits");
    let kept = dropping.await.expect("ends").expect("answers");
    assert_eq!((kept.tables.len(), kept.kept[0].1), (0, "a refund in it is not recorded"));
}

#[tokio::test]
async fn a_clock_that_is_ahead_drops_no_month() {
    needs_postgres!();
    let database = migrated().await;
    let store = open(&database.config()).await;
    let (ahead, keep) = (later(Ambient::system().now(), KEEP * 100), KEEP);
    for family in Family::ALL {
        let dropped = store.drop_partitions(family, ahead, keep).await.expect("answers");
        assert_eq!(dropped, Dropped::default(), "the server's clock decides");
    }
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
    let dropped =
        shop.store.drop_partitions(Family::WebhookAttempts, end, Duration::ZERO).await.expect("answers");
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
