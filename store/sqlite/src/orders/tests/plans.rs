//! Query plans that the migrations rely on, in a file that was never analyzed, as those of the program are: the planner
//! then knows nothing of what is in it. A statement that starts to scan a table fails here, not in production. Lists
//! and searches of products are in `product_plans`.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Row};

use super::{
    super::{
        admission, audit, customers, erasures, order_flow, order_records, outbox, reservations, stock,
        transitions, verifications, webhooks,
    },
    TestMerchant,
};

async fn steps(sql: &str) -> Vec<String> {
    steps_in(&TestMerchant::open().await, sql).await
}

/// The steps of a plan that touch a table or sort, each once. The lines of one order are not a table.
pub(super) async fn steps_in(shop: &TestMerchant, sql: &str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
        .fetch_all(shop.store.database.readers())
        .await
        .expect("explains");
    let steps: BTreeSet<String> = rows.iter().map(|row| row.get("detail")).collect();
    let of_tables = |step: &String| {
        let lines =
            ["SCAN CONSTANT ROW", "SCAN json_each VIRTUAL TABLE INDEX 1:", "SCAN wanted", "SCAN counted"];
        let touches = ["SCAN", "SEARCH", "USE TEMP"].iter().any(|verb| step.starts_with(verb));
        touches && !lines.contains(&step.as_str())
    };
    steps.into_iter().filter(of_tables).collect()
}

#[tokio::test]
async fn lists_of_orders_scan_an_index_in_its_order() {
    let by_merchant = "SEARCH orders USING INDEX sqlite_autoindex_orders_1 (merchant_id=? AND id<?)";
    assert_eq!(steps(order_flow::LIST).await, [by_merchant]);
    let by_status = "SEARCH orders USING INDEX orders_by_status (merchant_id=? AND status=? AND id<?)";
    assert_eq!(steps(order_flow::LIST_BY_STATUS).await, [by_status]);
    let of_customer =
        "SEARCH orders USING INDEX orders_by_customer (merchant_id=? AND customer_id=? AND id<?)";
    assert_eq!(steps(order_flow::LIST_OF_CUSTOMER).await, [of_customer]);
    let newest = "SEARCH idempotency_keys USING COVERING INDEX idempotency_keys_by_age";
    let expired = format!("{newest} (created_at<?)");
    let each = "SEARCH idempotency_keys USING INTEGER PRIMARY KEY (rowid=?)";
    assert_eq!(steps(order_flow::EXPIRE).await, [newest, &expired, each]);
}

#[tokio::test]
async fn expiry_and_audits_scan_open_orders_or_a_key() {
    let stale = "SEARCH orders USING COVERING INDEX orders_open (status=? AND id>? AND id<?)";
    assert_eq!(steps(transitions::STALE).await, [stale.replace("COVERING ", "")]);
    let all = "SEARCH orders USING COVERING INDEX sqlite_autoindex_orders_2 (id>?)";
    assert_eq!(steps(audit::ALL).await, [all]);
    let touched = "SEARCH outbox USING INDEX sqlite_autoindex_outbox_1 (id>? AND id<?)";
    assert_eq!(steps(audit::TOUCHED).await, [touched]);
    let stock = steps(audit::STOCK).await;
    assert!(stock.iter().any(|step| step.contains("USING INDEX orders_open")), "{stock:?}");
    assert!(
        stock.iter().any(|step| step.contains("products") || step.contains("SEARCH p USING PRIMARY KEY"))
    );
    assert!(!stock.iter().any(|step| step.starts_with("SCAN p") || step.starts_with("SCAN o ")), "{stock:?}");
    let of_order = "SEARCH outbox USING INDEX outbox_by_order (order_id=? AND sequence>?)";
    let commands = "SEARCH outbox USING INDEX outbox_commands (order_id=?)";
    let unsent: Vec<_> =
        steps(audit::UNSENT).await.into_iter().filter(|step| step.contains("outbox")).collect();
    assert_eq!(unsent, [of_order, commands]);
    assert_eq!(steps(audit::COMMANDS).await, [commands]);
}

#[tokio::test]
async fn records_of_many_orders_are_found_by_the_orders_ids() {
    for sql in order_records::ALL {
        let steps = steps(sql).await;
        let is_by_id = |step: &String| step.starts_with("SEARCH") && step.contains("id=?");
        assert!(!steps.is_empty() && steps.iter().all(is_by_id), "{sql}: {steps:?}");
    }
}

#[tokio::test]
async fn the_relays_statements_scan_unsent_messages_only() {
    let claim = [
        "SCAN o USING INDEX outbox_unsent",
        "SEARCH held USING INDEX outbox_held (subject=?)",
        "SEARCH outbox USING INTEGER PRIMARY KEY (rowid=?)",
    ];
    assert_eq!(steps(outbox::CLAIM).await, claim);
    let mark_sent = "SEARCH outbox USING INTEGER PRIMARY KEY (rowid=?)";
    assert_eq!(steps(outbox::MARK_SENT).await, [mark_sent]);
    let held = "SCAN outbox USING INDEX outbox_held";
    let unsent = "SCAN outbox USING INDEX outbox_unsent";
    assert_eq!(steps(outbox::BACKLOG).await, [held, unsent]);
    assert_eq!(steps(outbox::LIST).await, [held, "USE TEMP B-TREE FOR ORDER BY"]);
}

#[tokio::test]
async fn the_load_is_measured_by_index() {
    let open = "SEARCH orders USING INDEX orders_open (status=? AND id>?)";
    for sql in [admission::OPEN, admission::UNPAID] {
        let steps = steps(sql).await;
        assert!(steps.iter().any(|step| step == open), "{steps:?}");
        assert!(!steps.iter().any(|step| step.starts_with("SCAN orders")), "{steps:?}");
    }
    let overtaken = "orders_by_status (merchant_id=? AND status=? AND id>?)";
    assert!(steps(admission::UNPAID).await.iter().any(|step| step.ends_with(overtaken)));
    let behind = "SEARCH held USING INDEX outbox_held (subject=? AND rowid<?)";
    assert_eq!(steps(admission::UNSENT).await, ["SCAN o USING INDEX outbox_unsent", behind]);
    assert_eq!(steps(admission::ENDED).await, ["SEARCH outbox USING INDEX outbox_ended (at>?)"]);
    assert_eq!(steps(admission::ROOM).await, ["SEARCH waiting_rooms USING PRIMARY KEY (merchant_id=?)"]);
}

#[tokio::test]
async fn the_event_log_is_read_by_index() {
    let of_merchant = "SEARCH outbox USING INDEX outbox_by_merchant (merchant_id=? AND rowid<?)";
    assert_eq!(steps(outbox::EVENTS).await, [of_merchant]);
    let of_order = "SEARCH outbox USING INDEX outbox_by_order (order_id=? AND sequence>?)";
    assert_eq!(steps(outbox::ORDER_EVENTS).await, [of_order]);
}

#[tokio::test]
async fn stock_is_changed_by_its_whole_key() {
    let product = "SEARCH products USING PRIMARY KEY (merchant_id=? AND sku=?)";
    let key = "SEARCH idempotency_keys USING COVERING INDEX sqlite_autoindex_idempotency_keys_1 \
               (merchant_id=? AND key=?)";
    assert_eq!(steps(stock::RESERVE).await, [key, product]);
    assert_eq!(steps(stock::RELEASE).await, [product]);
    assert_eq!(steps(stock::SHIP).await, [product]);
    assert_eq!(steps(stock::HOLD).await, [product]);
    let by_end = "SEARCH cart_reservations USING COVERING INDEX cart_reservations_by_end (";
    let ended = steps(reservations::ENDED).await;
    assert!(ended.len() == 1 && ended[0].starts_with(by_end), "{ended:?}");
}

#[tokio::test]
async fn a_customer_is_found_by_index() {
    let by_id = "SEARCH customers USING INDEX sqlite_autoindex_customers_1 (id=?)";
    assert_eq!(steps(customers::BY_ID).await, [by_id]);
    let by_email =
        "SEARCH customers USING INDEX sqlite_autoindex_customers_2 (merchant_id=? AND email_key=?)";
    assert_eq!(steps(customers::BY_EMAIL).await, [by_email]);
    let orders = "SEARCH orders USING INDEX orders_by_customer (merchant_id=? AND customer_id=?)";
    assert_eq!(steps(erasures::OPEN_ORDERS).await, [orders]);
    assert_eq!(steps(erasures::ERASABLE).await, [orders]);
    let events = "SEARCH outbox USING INDEX outbox_by_order (order_id=?";
    assert!(steps(erasures::ERASE_EVENTS).await.iter().any(|step| step.starts_with(events)));
    let told = "SEARCH outbox USING INDEX sqlite_autoindex_outbox_1 (id=?)";
    assert_eq!(steps(customers::FORGET).await, [told]);
}

#[tokio::test]
async fn a_proof_of_an_address_is_found_by_index() {
    let search = |by: &str| format!("SEARCH verifications USING INDEX {by}");
    let by_id = search("sqlite_autoindex_verifications_1 (merchant_id=? AND id=?)");
    assert_eq!(steps(verifications::BY_ID).await, [by_id]);
    let of_email = search("verifications_by_email (merchant_id=? AND email_key=?)");
    assert_eq!(steps(verifications::OF_EMAIL).await, [of_email]);
    let by_token = search("verifications_by_token (merchant_id=? AND token_hash=?)");
    assert_eq!(steps(verifications::BY_TOKEN).await, [by_token]);
    let by_key = search("verifications_by_key (merchant_id=? AND idempotency_key=?)");
    assert_eq!(steps(verifications::BY_KEY).await, [by_key]);
    let expired = "SEARCH verifications USING COVERING INDEX verifications_by_expiry (expires_at<?)";
    let each = "SEARCH verifications USING INTEGER PRIMARY KEY (rowid=?)";
    assert_eq!(steps(verifications::EXPIRE).await, [expired, each]);
}

#[tokio::test]
async fn webhook_lists_scan_an_index_in_its_order() {
    let endpoints = "SEARCH webhook_endpoints USING INDEX sqlite_autoindex_webhook_endpoints_1 \
                     (merchant_id=? AND id<?)";
    assert_eq!(steps(webhooks::LIST).await, [endpoints]);
    let by_order = "SEARCH webhook_attempts USING INDEX webhook_attempts_by_order (order_id=?)";
    assert_eq!(steps(webhooks::ATTEMPTS_OF_ORDER).await, [by_order]);
}
