//! Server outages at start and later: independent functions continue, the others report the outage.

use base::testing::Proxy;

use reqwest::StatusCode;
use serde_json::Value;

use crate::util::{Client, PATIENCE, TestMerchant, TestServers, free_port, order, ready};

const SKUS: [&str; 1] = ["CUP"];

/// The entry of one dependency in the report of `/readyz`.
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["name"] == name).unwrap_or(&Value::Null)
}

/// Expects a problem with `Retry-After`.
async fn refused(client: &Client, key: &str, body: &Value) {
    let answer = client.place_whole(key, body).await.expect("answers");
    let header =
        |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    assert_eq!(header("content-type").as_deref(), Some("application/problem+json"));
    assert!(header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok()));
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: Value = answer.json().await.expect("is JSON");
    assert_eq!(problem["code"], "temporarily_unavailable", "{problem}");
}

async fn accepted(shop: &TestMerchant, key: &str) -> String {
    let (status, order) =
        shop.client.place(key, &shop.order("CUP", 1, "pm_card_visa")).await.expect("answers");
    assert_eq!(status, StatusCode::ACCEPTED, "{order}");
    order["id"].as_str().expect("an id").to_owned()
}

/// I7 for server addresses: their passwords appear in no log.
fn tells_no_password(stage: &TestServers, urls: &[&str]) {
    let log = stage.log();
    for url in urls {
        let (login, _) = url.rsplit_once('@').expect("a login");
        let (_, password) = login.rsplit_once(':').expect("a password");
        assert!(!log.contains(password), "a password is in the log");
    }
}

#[tokio::test]
async fn an_api_starts_without_postgres_and_gets_over_its_loss() {
    let Some(stage) = TestServers::open().await else { return };
    let url = stage.setting("POSTGRES_URL");
    let line = Proxy::to(url).await;
    line.sever();
    let (api, address) = stage.api_unready(&[("ORDERWORKS_POSTGRES_URL", &line.address(url))]);
    let report = ready(&address, |report| report["status"] == "down").await;
    assert_eq!(check(&report, "orders")["status"], "down", "{report}");
    let base = format!("http://{address}");
    let stranger = Client::new(&base, "owk_sec_unknown");
    refused(&stranger, "early", &order("CUP", 1, "pm_card_visa")).await;

    line.restore();
    ready(&address, |report| report["status"] == "ok").await;
    let shop = TestMerchant::open(&stage, &base, &SKUS, 100).await;
    accepted(&shop, "first").await;

    line.sever();
    let body = shop.order("CUP", 1, "pm_card_visa");
    refused(&shop.client, "second", &body).await;
    ready(&address, |report| check(report, "orders")["status"] == "down").await;
    line.restore();
    ready(&address, |report| report["status"] == "ok").await;
    accepted(&shop, "second").await;
    let orders = shop.client.all("/v1/orders").await;
    assert_eq!(orders.len(), 2, "a refused order left nothing");
    api.stop().await;
    tells_no_password(&stage, &[url]);
    stage.close().await;
}

#[tokio::test]
async fn orders_are_taken_without_cassandra_and_charged_once_it_is_there() {
    let Some(stage) = TestServers::open().await else { return };
    let nowhere = format!("[\"127.0.0.1:{}\"]", free_port());
    let without = [("ORDERWORKS_CASSANDRA_NODES", nowhere.as_str())];
    let (api, address) = stage.api_unready(&without);
    let report = ready(&address, |report| report["status"] == "degraded").await;
    assert_eq!(check(&report, "payments")["status"], "degraded", "{report}");
    let relay = stage.role(&["relay"]);
    let health = format!("127.0.0.1:{}", free_port());
    let worker = stage.role_with(&without, &["worker", "--health", &health]);
    let report = ready(&health, |report| check(report, "workers")["status"] == "ok").await;
    let contact =
        check(&report, "workers")["detail"].as_str().is_some_and(|told| told.contains("last contact"));
    assert!(contact, "{report}");
    assert_eq!(check(&report, "payments")["status"], "degraded", "{report}");

    let shop = TestMerchant::open(&stage, &format!("http://{address}"), &SKUS, 100).await;
    let id = accepted(&shop, "first").await;
    tried(&shop.client, &id).await;
    let order = shop.client.get(&format!("/v1/orders/{id}")).await;
    assert_eq!(order["status"], "pending", "tried, and not given up: {order}");

    worker.stop().await;
    let worker = stage.role(&["worker"]);
    assert_eq!(shop.client.ended(&id).await["status"], "fulfilled");
    for role in [worker, relay, api] {
        role.stop().await;
    }
    stage.close().await;
}

/// Waits until an attempt to charge the order has ended.
async fn tried(client: &Client, id: &str) {
    let asking = async {
        loop {
            let timeline = client.get(&format!("/v1/orders/{id}/timeline")).await;
            if timeline.to_string().contains("charge_payment") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the charge is tried");
}

#[tokio::test]
async fn checkout_goes_on_without_rabbitmq_and_all_of_it_is_fulfilled_afterwards() {
    let Some(stage) = TestServers::open().await else { return };
    let url = stage.setting("RABBITMQ_URL");
    let line = Proxy::to(url).await;
    line.sever();
    let by_line = line.address(url);
    let broker = [("ORDERWORKS_RABBITMQ_URL", by_line.as_str())];
    let (api, base) = stage.api(&broker).await;
    let health = format!("127.0.0.1:{}", free_port());
    let relay = stage.role_with(&broker, &["relay", "--health", &health]);
    let worker = stage.role_with(&broker, &["worker"]);
    let shop = TestMerchant::open(&stage, &base, &SKUS, 100).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(accepted(&shop, &format!("first-{n}")).await);
    }
    let report = ready(&health, |report| report["status"] == "down").await;
    assert!(check(&report, "relay")["detail"].as_str().is_some_and(|why| why.contains("cannot publish")));

    line.restore();
    ready(&health, |report| report["status"] == "ok").await;
    for id in &ids {
        assert_eq!(shop.client.ended(id).await["status"], "fulfilled");
    }
    // Once more, while orders are in progress.
    line.sever();
    for n in 0..5 {
        ids.push(accepted(&shop, &format!("later-{n}")).await);
    }
    ready(&health, |report| report["status"] == "down").await;
    line.restore();
    for id in &ids {
        assert_eq!(shop.client.ended(id).await["status"], "fulfilled");
    }
    for role in [worker, relay, api] {
        role.stop().await;
    }
    tells_no_password(&stage, &[url, stage.setting("POSTGRES_URL")]);
    stage.close().await;
}
