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
    let (open, text) = ("application/openmetrics-text", "text/plain; version=0.0.4");
    for (accept, expected) in [
        ("*/*", text),
        ("text/plain", text),
        ("application/openmetrics-text", open),
        // Prometheus.
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1", open),
        ("application/openmetrics-text;q=0.1, text/plain", text),
        ("application/openmetrics-text;q=0", text),
    ] {
        let call = reqwest::Client::new().get(format!("http://{health}/metrics")).header("accept", accept);
        let answer = call.send().await.expect("answers");
        let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
        assert!(content_type.starts_with(expected), "{accept}: {content_type}");
        assert_eq!(answer.text().await.expect("text").ends_with("# EOF\n"), expected == open, "{accept}");
    }
    api.stop().await;
}
