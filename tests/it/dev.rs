//! The main flow through the real binary: an order placed, charged, fulfilled, mailed, notified.

use std::{collections::BTreeMap, process::Stdio};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::Command,
};

use crate::util::{
    Client, Dev, PATIENCE, Receiver, fetch, http, order, orderworks, ready, run_json,
    traced::trace_reaches_webhooks,
};

async fn ledger(dev: &Dev, order: &str) -> Vec<Value> {
    let url = format!("{}?order={order}", dev.ready.ledger_url);
    let answer: Value = fetch(url).await.json().await.expect("is JSON");
    answer["data"].as_array().expect("a list").clone()
}

fn mails(dev: &Dev, order: &str) -> Vec<String> {
    let files = std::fs::read_dir(&dev.ready.mail_folder).expect("a mail folder");
    let names = files.map(|f| f.expect("readable").file_name().into_string().expect("UTF-8"));
    names.filter(|name| name.contains(order)).collect()
}

async fn available(client: &Client, sku: &str) -> i64 {
    client.get(&format!("/v1/products/{sku}")).await["available"].as_i64().expect("a number")
}

/// Waits until the timeline has all these entries: job attempts may appear up to a second late.
async fn timeline_with(merchant: &Client, order: &str, wanted: &[&str]) {
    let start = std::time::Instant::now();
    loop {
        let timeline = merchant.get(&format!("/v1/orders/{order}/timeline")).await.to_string();
        if wanted.iter().all(|text| timeline.contains(text)) {
            return;
        }
        assert!(start.elapsed() < crate::util::PATIENCE, "not all of {wanted:?} are in {timeline}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_use_the_publishable_key() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let (url, http) = (format!("{}/v1/products", dev.ready.url), http());
    for (key, allowed) in [(&dev.ready.publishable_key, true), (&dev.ready.secret_key, false)] {
        let call = http.get(&url).bearer_auth(key).header("origin", "http://localhost:5173");
        let answer = call.send().await.expect("answers");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers().contains_key("access-control-allow-origin"), allowed);
    }
    assert!(dev.stop().await.success());
}

#[tokio::test]
async fn an_order_is_charged_fulfilled_mailed_and_notified() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let (merchant, receiver) = (dev.merchant(), Receiver::start().await);
    let wanted = json!({ "url": receiver.url, "events": ["*"] });
    let (status, endpoint) = merchant.send(Method::POST, "/v1/webhook_endpoints", Some(&wanted)).await;
    assert_eq!(status, StatusCode::CREATED, "{endpoint}");
    let stock = available(&merchant, "CUP-ENAMEL").await;

    let id = dev.storefront().accepted("first", "pm_card_visa").await;
    let ended = merchant.ended(&id).await;
    assert_eq!(ended["status"], "fulfilled", "{ended}");
    assert_eq!(ended["payment"]["status"], "captured", "{ended}");
    assert_eq!(ledger(&dev, &id).await.len(), 1);
    assert_eq!(available(&merchant, "CUP-ENAMEL").await, stock - 1);

    let verifier = Webhook::new(endpoint["secret"].as_str().expect("a secret")).expect("a good secret");
    let about = |taken: &[(http::HeaderMap, bytes::Bytes)]| -> BTreeMap<u64, String> {
        let bodies = taken.iter().map(|(headers, body)| {
            verifier.verify(body, headers).expect("the official verifier accepts it");
            serde_json::from_slice::<Value>(body).expect("is JSON")
        });
        let ours = bodies.filter(|b| b["data"]["id"] == *id || b["data"]["order_id"] == *id);
        ours.map(|b| {
            (b["sequence"].as_u64().expect("a number"), b["type"].as_str().expect("a kind").to_owned())
        })
        .collect()
    };
    let taken = receiver.until(|taken| about(taken).len() >= 4).await;
    let kinds: Vec<_> = about(&taken).into_values().collect();
    assert_eq!(kinds, ["order.placed", "payment.captured", "order.paid", "order.fulfilled"]);

    timeline_with(&merchant, &id, &["charge_payment", "fulfil_order", "order.fulfilled", "send_email"]).await;
    assert!(dev.stop().await.success());
    let sent: Vec<_> = std::fs::read_dir(data.path().join("mail")).expect("a mail folder").collect();
    assert_eq!(sent.len(), 1, "one mail, and no half-written file beside it");
}

#[tokio::test]
async fn a_callers_trace_reaches_the_webhooks_unchanged() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    trace_reaches_webhooks(&dev).await;
    assert!(dev.stop().await.success());
}

#[tokio::test]
async fn a_declined_card_gives_the_stock_back_and_says_so() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let merchant = dev.merchant();
    let stock = available(&merchant, "CUP-ENAMEL").await;
    let id = merchant.accepted("declined", "pm_card_chargeDeclined").await;
    assert_eq!(merchant.ended(&id).await["status"], "payment_failed");
    assert_eq!(available(&merchant, "CUP-ENAMEL").await, stock);
    assert!(ledger(&dev, &id).await.is_empty());
    timeline_with(&merchant, &id, &["send_email"]).await;
    assert!(dev.stop().await.success());
    let mail = std::fs::read_dir(data.path().join("mail")).expect("a mail folder").next().expect("a mail");
    let text = std::fs::read_to_string(mail.expect("readable").path()).expect("text");
    assert!(text.contains(&id) && text.to_lowercase().contains("declined"), "{text}");
}

#[tokio::test]
async fn an_answer_that_never_comes_is_one_capture() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let id = dev.merchant().accepted("timeout", "pm_sandbox_timeout").await;
    assert_eq!(dev.merchant().ended(&id).await["status"], "fulfilled");
    assert_eq!(ledger(&dev, &id).await.len(), 1);
}

#[tokio::test]
async fn a_flaky_provider_is_retried_and_the_attempts_can_be_read() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let id = dev.merchant().accepted("flaky", "pm_sandbox_flaky").await;
    assert_eq!(dev.merchant().ended(&id).await["status"], "fulfilled");
    assert_eq!(ledger(&dev, &id).await.len(), 1);
    timeline_with(&dev.merchant(), &id, &["send_email"]).await;
    assert_eq!(mails(&dev, &id).len(), 1);
    // A stop flushes the attempt log, which otherwise lags by up to a second.
    assert!(dev.stop().await.success());
    let attempts =
        run_json(data.path(), &["inspect", "attempts", "--order", &id, "--kind", "charge_payment"]).await;
    let job = attempts[0]["job"].as_str().expect("a job").to_owned();
    let job = run_json(data.path(), &["inspect", "job", &job]).await;
    let outcomes: Vec<_> =
        job["attempts"].as_array().expect("a list").iter().map(|a| a["outcome"].clone()).collect();
    assert_eq!(outcomes, ["retried", "retried", "completed"], "{job}");
    let payment = run_json(data.path(), &["inspect", "payment", &id]).await;
    assert_eq!((&payment["order"], &payment["status"]), (&json!(id), &json!("captured")), "{payment}");
    assert_eq!(payment["attempts"].as_array().expect("a list").len(), 3, "{payment}");
    assert!(payment["decision"]["provider_reference"].is_string(), "{payment}");
    assert!(!payment.to_string().contains("pm_sandbox"), "no token of a payment method: {payment}");
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let (keys, merchant) = (dev.ready.secret_key.clone(), dev.merchant());
    let slow = merchant.accepted("slow", "pm_sandbox_slow").await;
    assert!(dev.stop().await.success());
    let dev = Dev::start(data.path()).await;
    assert_eq!(dev.ready.secret_key, keys, "the keys stay");
    assert_eq!(dev.merchant().ended(&slow).await["status"], "fulfilled");
    let again =
        dev.merchant().place("slow", &order("CUP-ENAMEL", 1, "pm_sandbox_slow")).await.expect("answers");
    assert_eq!(again.0, StatusCode::ACCEPTED);
    assert_eq!(again.1["id"], *slow, "the idempotency key is still known");
    assert_eq!(ledger(&dev, &slow).await.len(), 1);
}

/// On a terminal both outputs are one: the text comes first, whole, and log lines follow it.
#[tokio::test]
async fn log_lines_follow_the_text_of_dev() {
    let data = tempfile::tempdir().expect("a folder");
    let binary = orderworks(data.path());
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(binary.as_std().get_program());
    command.args(binary.as_std().get_args()).args(["dev", "--listen", "127.0.0.1:0"]);
    command.env_remove("ORDERWORKS_CONFIG").stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("spawns");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut text = Vec::new();
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("goes on").expect("reads");
        match line.expect("runs on") {
            log if log.contains(" INFO ") => break,
            line => text.push(line),
        }
    }
    assert!(text.first().is_some_and(|line| line.starts_with("Orderworks is ready")), "{text:?}");
    assert!(text.last().is_some_and(|line| line.starts_with("Ctrl-C stops")), "{text:?}");
}

/// The lead is longer than the test waits, so only a second signal ends it.
#[tokio::test]
async fn a_balancer_sees_503_before_connections_are_refused() {
    const LEAD: (&str, &str) = ("ORDERWORKS_SERVER_READINESS_LEAD_SECONDS", "300");
    for second in ["-TERM", "-INT"] {
        let data = tempfile::tempdir().expect("a folder");
        let dev = Dev::start_with(data.path(), &[LEAD]).await;
        let storefront = dev.storefront();
        dev.signal("-TERM").await;
        let unready = ready(&dev.address().to_string(), |report| report["draining"] == true).await;
        assert_eq!(unready["status"], "down", "{unready}");
        let answer = fetch(format!("{}/readyz", dev.ready.url)).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["connection"], "close");
        storefront.accepted("late", "pm_card_visa").await;
        let address = dev.address();
        dev.signal(second).await;
        dev.ended().await;
        assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the listener is closed");
    }
}

/// The body of the request would be waited for.
#[tokio::test]
async fn a_second_signal_cuts_open_requests() {
    let data = tempfile::tempdir().expect("a folder");
    let patient = [("ORDERWORKS_SERVER_BODY_SECONDS", "30"), ("ORDERWORKS_SERVER_DRAIN_SECONDS", "300")];
    let dev = Dev::start_with(data.path(), &patient).await;
    let mut open = tokio::net::TcpStream::connect(dev.address()).await.expect("connects");
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nHost: shop\r\nAuthorization: Bearer {}\r\nIdempotency-Key: open\r\n\
         Content-Type: application/json\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        dev.ready.publishable_key
    );
    open.write_all(head.as_bytes()).await.expect("writes");
    let mut continued = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    open.read_exact(&mut continued).await.expect("the body is read");
    dev.signal("-TERM").await;
    dev.signal("-INT").await;
    assert!(dev.ended().await.success());
    let mut answer = Vec::new();
    drop(open.read_to_end(&mut answer).await);
    assert_eq!(answer, b"", "no answer to a late body");
}

/// A person at a terminal does not wait for balancers.
#[tokio::test]
async fn ctrl_c_stops_without_the_lead() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start_with(data.path(), &[("ORDERWORKS_SERVER_READINESS_LEAD_SECONDS", "300")]).await;
    dev.signal("-INT").await;
    assert!(dev.ended().await.success());
}
