//! Exposure to others than the operator: of metrics on the public listener, of this machine's services to merchants, of
//! the data folder to other users of the machine.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use reqwest::Method;
use serde_json::json;

use crate::util::{Client, Dev, Role, fetch, free_port, http, orderworks, ready};

#[tokio::test]
async fn metrics_are_told_on_the_health_listener_only() {
    let data = tempfile::tempdir().expect("a folder");
    let [public, health] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let api = Role::start(data.path(), &[], &["api", "--listen", &public, "--health", &health]);
    ready(&public, |report| report["status"] == "ok").await;
    ready(&health, |report| report["status"] == "ok").await;
    let status =
        async |address: &str, path: &str| fetch(format!("http://{address}{path}")).await.status().as_u16();
    assert_eq!(status(&public, "/metrics").await, 404);
    assert_eq!(status(&health, "/metrics").await, 200);
    assert_eq!(status(&health, "/v1/orders").await, 404, "and the API is not there");
    assert_eq!(status(&public, "/scaling").await, 404);
    assert_eq!(status(&health, "/scaling").await, 404, "this role has no queue");
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
        let call = http().get(format!("http://{health}/metrics")).header("accept", accept);
        let answer = call.send().await.expect("answers");
        let content_type = answer.headers()["content-type"].to_str().expect("text").to_owned();
        assert!(content_type.starts_with(expected), "{accept}: {content_type}");
        assert_eq!(answer.text().await.expect("text").ends_with("# EOF\n"), expected == open, "{accept}");
    }
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

/// Entries of a data folder, and the folder itself, that other users may access; the log belongs to the test.
fn open_to_others(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let all = entries.chain([folder.to_owned()]).filter(|path| !path.ends_with("log"));
    let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode();
    all.filter(|path| mode(path) & 0o077 != 0).map(|path| path.display().to_string()).collect()
}

#[tokio::test]
async fn the_data_folder_is_private_whatever_the_umask_also_one_of_an_earlier_release() {
    let parent = tempfile::tempdir().expect("a folder");
    let data = parent.path().join("data");
    fs::create_dir(&data).expect("creates");
    let dev = Dev::start_in_shell(&data, "umask 022").await;
    let order = dev.merchant().accepted("first", "pm_card_visa").await;
    assert_eq!(dev.merchant().ended(&order).await["status"], "fulfilled");
    assert!(fs::read_dir(&data).expect("a folder").count() > 8, "files and mails");
    assert_eq!(open_to_others(&data), [""; 0]);
    assert!(dev.stop().await.success());

    for entry in fs::read_dir(&data).expect("a folder") {
        let path = entry.expect("an entry").path();
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("opens");
    }
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("opens");
    let dev = Dev::start_in_shell(&data, "umask 022").await;
    assert_eq!(open_to_others(&data), [""; 0]);
    assert!(dev.stop().await.success());
}

#[tokio::test]
async fn development_settings_are_told_at_the_start_of_a_role_and_by_config_show() {
    let data = tempfile::tempdir().expect("a folder");
    assert!(Dev::start(data.path()).await.stop().await.success());
    fs::remove_file(data.path().join("log")).expect("removes");
    let public = format!("127.0.0.1:{}", free_port());
    let settings = [("ORDERWORKS_WEBHOOKS_ALLOW_LOOPBACK", "true")];
    let api = Role::start(data.path(), &settings, &["api", "--listen", &public]);
    ready(&public, |report| report["status"] == "ok").await;
    api.stop().await;
    let log = fs::read_to_string(data.path().join("log")).expect("a log");
    let shown = orderworks(data.path()).args(["--json", "config", "show"]).envs(settings).output().await;
    let shown = shown.expect("runs");
    serde_json::from_slice::<serde_json::Value>(&shown.stdout).expect("nothing but JSON on standard output");
    let remarks = String::from_utf8(shown.stderr).expect("UTF-8");
    for setting in
        ["webhooks.allow_loopback", "payments.provider", "mail.transport", "engines.queue", "demo shop"]
    {
        let is_told = log.lines().any(|line| line.contains("development setting") && line.contains(setting));
        assert!(is_told && remarks.contains(setting), "{setting} is missing in {log} or {remarks}");
    }
}
