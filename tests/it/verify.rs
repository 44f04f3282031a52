//! The command `orderworks verify` as operators run it: over files beside a running server, and over all servers with
//! damage planted in PostgreSQL and Cassandra.

use std::{path::Path, str::FromStr, time::Duration};

use base::{Ambient, ids::Uuid, postgres::PostgresConfig};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, sqlite::SqliteConnectOptions};
use store::domain::{OrderId, PaymentId, RefundId};

use crate::util::{
    Dev, PATIENCE, TestMerchant, TestServers, alone,
    audit::{FULL, right as repaired},
    fetch, orderworks, run, until, verify,
};

const NOW: [&str; 2] = ["--grace", "0s"];

/// Writes past the store into a file that a server has open.
pub(super) async fn plant(file: &Path, sql: &str) {
    let options = SqliteConnectOptions::from_str(file.to_str().expect("UTF-8")).expect("a path");
    let mut file = options.busy_timeout(Duration::from_secs(5)).connect().await.expect("opens");
    let done = file.execute(AssertSqlSafe(sql.to_owned())).await.expect("plants");
    assert!(done.rows_affected() > 0, "nothing planted by: {sql}");
}

/// A server over this folder with one order, which is fulfilled and with which nothing is wrong; and the order's id.
pub(super) async fn one_right_order(folder: &Path) -> (Dev, String) {
    let dev = Dev::start(folder).await;
    let merchant = dev.merchant();
    let id = merchant.accepted("first", "pm_card_visa").await;
    merchant.ended(&id).await;
    repaired(async || verify(folder, &[], &FULL).await).await;
    (dev, id)
}

#[tokio::test]
async fn beside_a_running_server_it_finds_reports_and_repairs() {
    let data = tempfile::tempdir().expect("a folder");
    let (dev, id) = one_right_order(data.path()).await;
    let (status, violations, summary) = verify(data.path(), &[], &FULL).await;
    assert_eq!((status, violations.len()), (Some(0), 0), "{summary}");
    let counted = (&summary["orders"], &summary["payments"], &summary["ledger"], &summary["products"]);
    assert_eq!(
        counted,
        (&1.into(), &1.into(), &1.into(), &26.into()),
        "the ledger is read over the same folder"
    );

    plant(
        &data.path().join("orders.db"),
        "UPDATE products SET reserved = reserved + 5 WHERE sku = 'CUP-ENAMEL'",
    )
    .await;
    plant(&data.path().join("orders.db"), "DELETE FROM mails").await;
    let (status, violations, summary) = verify(data.path(), &[], &FULL).await;
    assert_eq!((status, &summary["violations"]), (Some(1), &2.into()), "{summary}");
    assert_eq!((&violations[0]["code"], &violations[0]["invariant"]), (&"mail_missing".into(), &"I4".into()));
    assert_eq!(violations[0]["ids"]["order"], id);
    assert_eq!(
        (&violations[1]["code"], &violations[1]["ids"]["sku"]),
        (&"reservation_differs".into(), &"CUP-ENAMEL".into())
    );
    let mut command = orderworks(data.path());
    let shown = command.arg("verify").args(FULL).output().await.expect("runs");
    let text = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(text.contains("I3 reservation_differs") && text.contains("2 violations, 0 repaired"), "{text}");
    assert!(shown.stderr.is_empty(), "no bar where there is no terminal: {:?}", shown.stderr);

    let repairing = [&FULL[..], &["--repair"]].concat();
    let (status, _, summary) = verify(data.path(), &[], &repairing).await;
    assert_eq!((status, &summary["repaired"]), (Some(1), &2.into()), "{summary}");
    repaired(async || verify(data.path(), &[], &FULL).await).await;
    assert!(dev.stop().await.success());
    let (status, _, _) = verify(data.path(), &[], &NOW).await;
    assert_eq!(status, Some(0), "and without a server");
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_neither_right_nor_wrong() {
    let data = tempfile::tempdir().expect("a folder");
    let (status, violations, why) = verify(data.path(), &[], &[]).await;
    assert_eq!((status, violations.len()), (Some(2), 0), "{why}");
    assert!(why.to_string().contains("orderworks dev"), "{why}");
    assert_eq!(std::fs::read_dir(data.path()).expect("reads").count(), 0, "looking creates nothing");
    let (status, ..) = verify(data.path(), &[("ORDERWORKS_LOG_FORMAT", "xml")], &[]).await;
    assert_eq!(status, Some(2), "a mistake in the configuration, too");
    assert!(Dev::start(data.path()).await.stop().await.success());
    let away = [("ORDERWORKS_PAYMENTS_PROVIDER_URL", "http://127.0.0.1:1/")];
    let (status, _, why) = verify(data.path(), &away, &["--full"]).await;
    assert_eq!(status, Some(2), "the ledger: {why}");
}

#[tokio::test]
async fn the_schedule_tells_prometheus() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let asking = async {
        // The schedule is stored once the scheduler leads.
        while !run(data.path(), &["control", "run-schedule", "audit_changes"]).await.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        loop {
            let text = fetch(format!("{}/metrics", dev.ready.url)).await.text().await;
            let text = text.expect("a text");
            let last =
                text.lines().find_map(|l| l.strip_prefix("orderworks_verify_last_run_timestamp_seconds "));
            if last.expect("is there").parse::<f64>().expect("a number") > 0.0 {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let text = tokio::time::timeout(PATIENCE, asking).await.expect("audits in time");
    for invariant in ["I1", "I2", "I3", "I4", "I5"] {
        assert!(
            text.contains(&format!("orderworks_verify_violations{{invariant=\"{invariant}\"}} 0")),
            "{text}"
        );
    }
    assert!(text.contains("orderworks_webhook_endpoints_disabled_total 0\n"), "{text}");
    assert!(text.contains("orderworks_verify_orders_checked 0"), "{text}");

    let attempts = ["inspect", "attempts", "--kind", "audit_changes"];
    let attempts = until(data.path(), &attempts, |all| !all[0].is_null()).await;
    let id = attempts[0]["job"].as_str().expect("an id");
    let job = until(data.path(), &["inspect", "job", id], |job| !job["report"]["ended_at"].is_null()).await;
    assert_eq!(job["report"]["result"], json!({ "orders": 0, "violations": 0 }), "{job}");
    assert!(dev.stop().await.success());
}

/// The servers of a deployment whose shop has fulfilled orders, written to past the stores.
struct Servers {
    stage: TestServers,
    shop: TestMerchant,
    orders: Vec<OrderId>,
    cassandra: scylla::client::session::Session,
}

impl Servers {
    async fn sql(&self, sql: String) {
        let config = PostgresConfig::new(self.stage.database.url(), "plants");
        let database = base::postgres::connect(&config).await.expect("connects");
        let mut session = database.session().await.expect("connects");
        let done = (&mut *session).execute(AssertSqlSafe(sql.clone())).await.expect("plants");
        assert!(done.rows_affected() > 0 || sql.starts_with("ALTER"), "nothing planted by: {sql}");
    }

    /// Statements name the table `payments` only.
    async fn cql(&self, cql: String) {
        let cql =
            cql.replacen(" payments ", &format!(" {}.payments ", self.stage.keyspace.config.keyspace), 1);
        self.cassandra.query_unpaged(cql, ()).await.expect("plants");
    }

    fn id(&self, n: usize) -> Uuid {
        self.orders[n].0
    }

    fn payment(&self, n: usize) -> Uuid {
        PaymentId::of_order(self.orders[n]).0
    }

    async fn verify(&self, more: &[&str]) -> (Vec<(String, String)>, Value) {
        let (status, violations, summary) = self.stage.verify(&[&FULL[..], more].concat()).await;
        assert_eq!(status, Some(1), "{summary}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut found: Vec<_> =
            violations.iter().map(|v| (text(&v["code"]), text(&v["ids"]["order"]))).collect();
        found.sort_unstable();
        (found, summary)
    }

    /// Codes with their orders, sorted.
    fn wanted(&self, expected: &[(&str, Option<usize>)]) -> Vec<(String, String)> {
        let order = |n: Option<usize>| n.map(|n| self.orders[n].to_string()).unwrap_or_default();
        let mut wanted: Vec<_> = expected.iter().map(|(code, n)| ((*code).to_owned(), order(*n))).collect();
        wanted.sort_unstable();
        wanted
    }

    /// Damage of each kind that `--repair` repairs.
    async fn plant_repairable_damage(&self) -> Vec<(&'static str, Option<usize>)> {
        let id = |n| self.id(n);
        for sql in [
            format!(
                "UPDATE orders SET status = 'paid', shipment_id = NULL, shipped_at = NULL WHERE id = '{}'",
                id(0)
            ),
            format!("UPDATE orders SET status = 'cancelled', {UNPAID} WHERE id = '{}'", id(1)),
            format!("UPDATE orders SET status = 'cancelled' WHERE id = '{}'", id(2)),
            format!("DELETE FROM mails WHERE order_id = '{}'", id(3)),
            format!("DELETE FROM webhook_attempts WHERE order_id = '{}'", id(4)),
            format!(
                "UPDATE webhook_attempts SET status = 500, at = at - interval '1 hour' WHERE order_id = '{}'",
                id(5)
            ),
            "UPDATE products SET reserved = reserved + 7 WHERE sku = 'PEN'".to_owned(),
            format!("UPDATE refunds SET recorded_at = NULL WHERE order_id = '{}'", id(15)),
            format!("UPDATE orders SET refunded_minor = 0 WHERE id = '{}'", id(15)),
        ] {
            self.sql(sql).await;
        }
        let mut expected = vec![
            ("paid_stuck", Some(0)),
            ("capture_unexpected", Some(1)),
            ("money_kept", Some(2)),
            ("mail_missing", Some(3)),
            ("refund_stuck", Some(15)),
            ("reservation_differs", None),
            // The order that was set to paid again reserves units that were shipped.
            ("reservation_differs", None),
        ];
        expected.extend([("webhook_missing", Some(4)); 4]);
        expected.extend([("webhook_stalled", Some(5)); 4]);
        expected
    }

    /// Damage of each kind that needs manual action, in PostgreSQL.
    async fn plant_in_orders(&self) -> [(&'static str, Option<usize>); 7] {
        let id = |n| self.id(n);
        for sql in [
            format!(
                "UPDATE orders SET status = 'pending', shipment_id = NULL, shipped_at = NULL, {UNPAID} WHERE id = '{}'",
                id(6)
            ),
            format!("UPDATE orders SET lines = '{{}}' WHERE id = '{}'", id(7)),
            format!("UPDATE orders SET status = 'payment_failed', {UNPAID} WHERE id = '{}'", id(8)),
            format!("UPDATE orders SET refunded_minor = 3 WHERE id = '{}'", id(9)),
            format!("INSERT INTO mails VALUES ('{}', 'order_refunded', '<x>', now())", id(10)),
            format!("DELETE FROM outbox WHERE order_id = '{}' AND sequence = 2", id(11)),
            "ALTER TABLE products DROP CONSTRAINT products_check".to_owned(),
            "UPDATE products SET on_hand = 0, reserved = 1 WHERE sku = 'PEN'".to_owned(),
        ] {
            self.sql(sql).await;
        }
        [
            ("pending_stuck", Some(6)),
            ("unreadable", Some(7)),
            ("capture_unexpected", Some(8)),
            ("refund_sum_differs", Some(9)),
            ("mail_unexpected", Some(10)),
            ("event_gap", Some(11)),
            ("stock_negative", None),
        ]
    }

    /// The same in Cassandra.
    async fn plant_in_payments(&self) -> [(&'static str, Option<usize>); 9] {
        let (ambient, payment) = (Ambient::system(), |n| self.payment(n));
        let (orphan, stranger) = (OrderId::fresh(&ambient), RefundId::fresh(&ambient));
        for cql in [
            format!("UPDATE payments SET amount_minor = 1 WHERE payment_id = {}", payment(12)),
            format!("UPDATE payments SET provider_reference = null, decided_at = null WHERE payment_id = {}", payment(13)),
            format!("UPDATE payments SET provider_reference = 'ch_none' WHERE payment_id = {}", payment(14)),
            format!(
                "UPDATE payments SET done = true, refund_minor = 5, begun_at = 1, ended_at = 1
                 WHERE payment_id = {} AND kind = 'refund' AND entry = '{stranger}'",
                payment(15)
            ),
            format!(
                "INSERT INTO payments (payment_id, order_id, merchant_id, amount_minor, currency, method, provider,
                 created_at, epoch, reserved_minor) VALUES ({}, {}, {}, 5, 'EUR', 'pm', 'sandbox', 1, 0, 0)",
                PaymentId::of_order(orphan).0,
                orphan.0,
                self.shop.merchant.0
            ),
        ] {
            self.cql(cql).await;
        }
        [
            ("amount_differs", Some(12)),
            ("amount_differs", Some(12)),
            ("capture_missing", Some(13)),
            ("ledger_capture_unexpected", Some(13)),
            ("amount_differs", Some(14)),
            ("ledger_capture_missing", Some(14)),
            ("ledger_capture_unexpected", Some(14)),
            ("refund_stuck", Some(15)),
            ("ledger_refund_missing", Some(15)),
        ]
    }
}

const UNPAID: &str = "payment_id = NULL, provider_reference = NULL, captured_minor = NULL";

async fn fulfilled(shop: &TestMerchant, key: &str) -> OrderId {
    let (status, order) =
        shop.client.place(key, &shop.order("CUP", 1, "pm_card_visa")).await.expect("answers");
    assert_eq!(status, StatusCode::ACCEPTED, "{order}");
    let id = order["id"].as_str().expect("an id").to_owned();
    assert_eq!(shop.client.ended(&id).await["status"], "fulfilled");
    id.parse().expect("an order id")
}

/// Sixteen fulfilled orders, the last one with a partial refund.
async fn served(stage: TestServers, base: &str) -> Servers {
    let shop = TestMerchant::open(&stage, base, &["CUP", "PEN"], 1_000).await;
    let mut orders = Vec::new();
    for n in 0..16 {
        orders.push(fulfilled(&shop, &format!("order-{n}")).await);
    }
    let refund = format!("/v1/orders/{}/refund", orders[15]);
    let part = serde_json::json!({ "amount_minor": 100 });
    let key = [("idempotency-key", "part")];
    let (status, body) = shop.client.send_with(Method::POST, &refund, &key, Some(&part)).await;
    assert!(status.is_success(), "{body}");
    let cassandra = stage.keyspace.session().await;
    Servers { stage, shop, orders, cassandra }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_damage_of_each_kind_is_found_on_the_servers_and_repaired_where_that_is_safe() {
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let (api, base) = stage.api(&[]).await;
    let (relay, worker) = (stage.role(&["relay"]), stage.role(&["worker"]));
    let servers = served(stage, &base).await;
    let stage = &servers.stage;
    repaired(async || stage.verify(&FULL).await).await;

    // Without the relay and the worker the planted damage has no consequences until the audit has reported it.
    relay.stop().await;
    worker.stop().await;
    let expected = servers.plant_repairable_damage().await;
    let (found, _) = servers.verify(&[]).await;
    assert_eq!(found, servers.wanted(&expected));
    let (_, summary) = servers.verify(&["--repair"]).await;
    assert_eq!(summary["repaired"], summary["violations"], "{summary}");
    let (relay, worker) = (stage.role(&["relay"]), stage.role(&["worker"]));
    repaired(async || stage.verify(&FULL).await).await;
    let again = servers.shop.client.get(&format!("/v1/orders/{}", servers.orders[0])).await;
    assert_eq!(again["status"], "fulfilled");
    relay.stop().await;
    worker.stop().await;

    let mut expected = servers.plant_in_orders().await.to_vec();
    expected.extend(servers.plant_in_payments().await);
    let (mut found, _) = servers.verify(&[]).await;
    let orphan = found.iter().position(|(code, _)| code == "payment_orphan").expect("the orphan is found");
    found.remove(orphan);
    // The reservation of the order that was set to pending again, whose units were shipped long ago.
    found.retain(|(code, _)| code != "reservation_differs");
    assert_eq!(found, servers.wanted(&expected));
    api.stop().await;
    servers.stage.close().await;
}
