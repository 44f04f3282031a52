//! Rows that this release cannot read harm nothing but themselves.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor};
use store::{
    audit::Audit,
    domain::{EventId, OrderStatus},
    orders::{Orders, Stale},
    outbox::{Command, Outbox, OutboxBody},
};

use super::{needs_postgres, shop::shop};
use crate::util::postgres::{migrated, pool};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn messages_of_a_later_release_are_claimed_as_unreadable_beside_all_others() {
    needs_postgres!();
    let database = migrated().await;
    let shop = shop(&database.config()).await;
    let drained = shop.store.claim("drain", 100, LEASE, shop.ambient.now()).await.expect("claims");
    let drained: Vec<_> = drained.iter().map(|message| message.position).collect();
    shop.store.mark_sent(&drained, shop.ambient.now()).await.expect("marks");
    let [event, command, lost, whole] = [
        shop.place("1", &["a"]).await,
        shop.place("2", &["a"]).await,
        shop.place("3", &["a"]).await,
        shop.place("4", &["a"]).await,
    ];
    let report = Command::ProviderReport { order: command.id, reference: "pi_1".to_owned() };
    let id = EventId::derived(command.id.0, "stripe:evt_1");
    shop.store.submit(id, report, shop.ambient.now()).await.expect("submits");
    let pool = pool(&database).await;
    for sql in [
        format!("UPDATE outbox SET kind = 'order.held' WHERE order_id = '{}'", event.id.0),
        format!("UPDATE outbox SET data = '{{\"command\":\"release_hold\"}}' WHERE id = '{}'", id.0),
        format!("DELETE FROM outbox WHERE order_id = '{}'", lost.id.0),
    ] {
        let done = pool.execute(AssertSqlSafe(sql)).await.expect("plants");
        assert_eq!(done.rows_affected(), 1);
    }
    let at = shop.ambient.now();
    let claimed = shop.store.claim("relay", 100, LEASE, at).await.expect("claims");
    let is_read = |body: &OutboxBody| !matches!(body, OutboxBody::Unreadable(_));
    let read: Vec<_> = claimed.iter().map(|message| is_read(&message.body)).collect();
    assert_eq!(read, [false, true, false, true, false], "{claimed:?}");
    let of = |order: &store::domain::Order| order.id.0.to_string();
    let subjects: Vec<_> = claimed.iter().map(|message| message.subject.clone()).collect();
    assert_eq!(subjects, [of(&event), of(&command), of(&lost), of(&whole), of(&command)]);

    let aside: Vec<_> = claimed.iter().filter(|one| !is_read(&one.body)).map(|one| one.position).collect();
    shop.store.set_aside(&aside, at + LEASE * 2).await.expect("sets aside");
    let sent = [claimed[1].position, claimed[3].position];
    shop.store.mark_sent(&sent, at).await.expect("marks");
    assert!(shop.store.claim("relay", 100, LEASE, at).await.expect("claims").is_empty());
    assert_eq!(shop.store.backlog().await.expect("reads").set_aside, 3);
    let errors: Vec<_> =
        shop.store.list_set_aside(10).await.expect("lists").into_iter().filter_map(|one| one.error).collect();
    let named = ["order.held", "NULL", "release_hold"];
    assert!(
        errors.len() == 3 && errors.iter().zip(named).all(|(error, name)| error.contains(name)),
        "{errors:?}"
    );
    let again = shop.store.claim("other", 100, LEASE, at + LEASE * 3).await.expect("claims");
    assert_eq!(again.iter().map(|message| message.position).collect::<Vec<_>>(), aside);
}

#[tokio::test]
async fn an_order_that_cannot_be_expired_keeps_no_other() {
    needs_postgres!();
    let database = migrated().await;
    let shop = shop(&database.config()).await;
    let (damaged, whole) = (shop.place("1", &["a"]).await, shop.place("2", &["b"]).await);
    let pool = pool(&database).await;
    pool.execute("UPDATE products SET reserved = 0 WHERE sku = 'a'").await.expect("plants");
    let at = shop.ambient.now() + Duration::from_millis(1);
    let stale = shop.store.stale_orders(Stale::all(at), None, 10).await.expect("lists");
    assert_eq!(stale, [damaged.id, whole.id]);
    let error = shop.store.expire_order(damaged.id, None, at).await.expect_err("frees more than is reserved");
    assert!(!error.class().is_transient(), "{error:?}");
    assert!(shop.store.expire_order(whole.id, None, at).await.expect("expires"));
    assert_eq!(shop.store.stale_orders(Stale::all(at), Some(damaged.id), 10).await.expect("lists"), []);
}

#[tokio::test]
async fn a_reservation_of_an_unreadable_order_is_left_alone() {
    needs_postgres!();
    let database = migrated().await;
    let shop = shop(&database.config()).await;
    let (broken, whole) = (shop.place("1", &["a"]).await, shop.place("2", &["a", "b"]).await);
    let pool = pool(&database).await;
    pool.execute("ALTER TABLE orders DROP CONSTRAINT orders_status_check").await.expect("drops");
    for change in [
        r#"lines = '{"items":[{"sku":"a","quantity":1}]}'"#,
        r#"lines = '[["a", 1], "a", {"sku":"a","quantity":"one"}]'"#,
        "lines = '7'",
        "status = 'on_hold'",
    ] {
        let sql = format!("UPDATE orders SET {change} WHERE id = '{}'", broken.id.0);
        pool.execute(AssertSqlSafe(sql)).await.expect("plants");
        let counts = shop.store.stock_counts(None, 10).await.expect("counts");
        let held: Vec<_> =
            counts.iter().map(|count| (count.sku.as_str(), count.reserved, count.held)).collect();
        assert_eq!(held, [("a", 2, 1), ("b", 1, 1)], "{change}: what reads back is counted");
        assert!(!shop.store.open_orders_read_back(shop.merchant).await.expect("reads"), "{change}");
        let repaired = shop.store.repair_reservation(shop.merchant, "a", shop.ambient.now()).await;
        assert!(!repaired.expect("answers") && shop.stock("a").await == (10, 2), "{change}");
    }
    let sql = format!("UPDATE orders SET status = 'payment_failed' WHERE id = '{}'", broken.id.0);
    pool.execute(AssertSqlSafe(sql)).await.expect("ends it");
    assert!(
        shop.store.open_orders_read_back(shop.merchant).await.expect("reads"),
        "it holds nothing any more"
    );
    let repaired = shop.store.repair_reservation(shop.merchant, "a", shop.ambient.now()).await;
    assert!(repaired.expect("repairs") && shop.stock("a").await == (10, 1));
    let whole = shop.store.order_by_id(whole.id).await.expect("reads").expect("is there");
    assert_eq!(whole.status, OrderStatus::Pending);
}
