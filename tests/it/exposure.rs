//! Exposure of metrics: served to operators only, never on the public listener.

use crate::util::{Role, free_port, ready};

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
