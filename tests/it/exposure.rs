//! Exposure to others than the operator: of metrics on the public listener, and of this machine's services to merchants.

use reqwest::Method;
use serde_json::json;

use crate::util::{Client, Dev, Role, free_port, ready};

#[tokio::test]
async fn metrics_are_told_on_the_health_listener_only() {
    let data = tempfile::tempdir().expect("a folder");
    let [public, health] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let api = Role::start(data.path(), &[], &["api", "--listen", &public, "--health", &health]);
    ready(&public, |report| report["status"] == "ok").await;
    ready(&health, |report| report["status"] == "ok").await;
    let status = async |address: &str, path: &str| {
        reqwest::get(format!("http://{address}{path}")).await.expect("answers").status().as_u16()
    };
    assert_eq!(status(&public, "/metrics").await, 404);
    assert_eq!(status(&health, "/metrics").await, 200);
    assert_eq!(status(&health, "/v1/orders").await, 404, "and the API is not there");
    api.stop().await;
}

#[tokio::test]
async fn only_dev_takes_webhook_addresses_on_this_machine() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let (merchant, public) = (dev.merchant(), format!("127.0.0.1:{}", free_port()));
    let add = async |client: &Client, url: &str| {
        let endpoint = json!({ "url": url, "events": ["*"] });
        client.send(Method::POST, "/v1/webhook_endpoints", Some(&endpoint)).await.0.as_u16()
    };
    assert_eq!(add(&merchant, "http://127.0.0.1:6379/").await, 201);
    assert!(dev.stop().await.success());
    let api = Role::start(data.path(), &[], &["api", "--listen", &public]);
    ready(&public, |report| report["status"] == "ok").await;
    let merchant = merchant.at(&format!("http://{public}"));
    for url in
        ["http://127.0.0.1:6379/", "http://localhost:15672/api", "https://[::1]:8443/", "https://0.0.0.0/"]
    {
        assert_eq!(add(&merchant, url).await, 422, "{url}");
    }
    api.stop().await;
}
