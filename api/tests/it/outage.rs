//! Operation and responses while a store is unavailable.

use reqwest::Method;
use serde_json::json;
use sqlx::{ConnectOptions, Connection, Executor, sqlite::SqliteConnectOptions};

use crate::util::{TestApi, logs, order_body};

#[tokio::test]
async fn a_store_that_cannot_write_is_a_503_that_tells_nothing_and_keeps_the_key_usable() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let file = SqliteConnectOptions::new().filename(shop.folder.path().join("orders.db"));
    let mut other = file.connect().await.expect("a second connection");
    other.execute("BEGIN IMMEDIATE").await.expect("holds the write lock");
    let call = shop.place("k1", &order_body()).header("x-request-id", "outage-1");
    let answer = call.send().await.expect_problem(503, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "2");
    for internal in ["sqlite", "SQLite", "locked", "database", "transaction", ".db"] {
        assert!(!answer.text.contains(internal), "{}", answer.text);
    }
    // Logged once, with the text that an operator searches for.
    let told = logs::kept();
    let told = told.lines().filter(|line| line.contains("outage-1") && line.contains("ERROR"));
    let told: Vec<_> = told.collect();
    assert!(matches!(&told[..], [line] if line.contains("store unavailable")), "{told:?}");
    other.execute("ROLLBACK").await.expect("lets go");
    other.close().await.expect("closes");
    assert_eq!(shop.traces().await, (0, 1, 0), "only the stock that was put");
    shop.place("k1", &order_body()).send().await.expect_status(202);
}

#[tokio::test]
async fn without_payments_orders_are_placed_and_read() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    shop.payments.close().await;
    let order = shop.order("k1").await;
    let path = format!("/v1/orders/{}", order["id"].as_str().expect("an id"));
    let read = shop.get(&path).send().await.expect_status(200).json;
    assert_eq!(read["payment"]["status"], "unknown");
    let listed = shop.get("/v1/orders").send().await.expect_status(200);
    assert_eq!(listed.list()[..], [read]);
    let timeline = shop.get(&format!("{path}/timeline")).send().await.expect_status(200);
    assert_eq!(timeline.json["incomplete"], json!(["payments"]));
    assert!(timeline.list().iter().any(|entry| entry["kind"] == "order.placed"));
    let ready = shop.call(Method::GET, "/readyz").send().await.expect_status(200).json;
    assert_eq!(ready["status"], "degraded");
    assert_eq!(ready["checks"][1]["name"], "payments");
    assert_eq!(ready["checks"][1]["status"], "degraded");
}

#[tokio::test]
async fn a_schema_that_does_not_fit_is_a_500_with_its_cause_in_the_log_only() {
    let api = TestApi::open().await;
    api.stock("mug", 10).await;
    let file = SqliteConnectOptions::new().filename(api.folder.path().join("orders.db"));
    let mut other = file.connect().await.expect("a second connection");
    other.execute("ALTER TABLE orders RENAME COLUMN total_minor TO total").await.expect("renames");
    let call = api.place("k1", &order_body()).header("x-request-id", "defect-1");
    let answer = call.send().await.expect_problem(500, "internal_error");
    assert!(answer.header("retry-after").is_empty(), "waiting does not help");
    assert!(!answer.text.contains("total_minor"), "{}", answer.text);
    let logged = logs::kept();
    let errors: Vec<_> =
        logged.lines().filter(|line| line.contains("defect-1") && line.contains("ERROR")).collect();
    assert!(
        matches!(&errors[..], [line] if line.contains("store failed") && line.contains("total_minor")),
        "{errors:?}"
    );
    other.execute("ALTER TABLE orders RENAME COLUMN total TO total_minor").await.expect("renames back");
    api.place("k1", &order_body()).send().await.expect_status(202);
}
