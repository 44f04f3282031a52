//! Metrics of the roles: figures that agree with what happened, the list of the documentation, and the text form as
//! Prometheus checks it.

mod bounds;

use std::{collections::HashMap, io::ErrorKind, path::Path, process::Stdio, time::Duration};

use reqwest::StatusCode;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, time::Instant};

use crate::util::{
    Dev, PATIENCE, Role, TestMerchant, TestServers, absent_broker, alone, fetch, free_port, http,
    rabbitmq_at, ready,
};

/// A token of the console; its role needs one to start.
const TOKENS: (&str, &str) =
    ("ORDERWORKS_CONSOLE_TOKENS", "{ ada = \"viewer:0123456789abcdef0123456789abcdef\" }");
/// Metrics that a role shows only once something has happened to it, or with servers that its deployment has not.
const MAY_BE_MISSING: [(&str, &str); 4] = [
    // The merchant has no hooks.
    ("api", "orderworks_hook_call_seconds"),
    ("api", "orderworks_replica_lag_seconds"),
    // Housekeeping has its times.
    ("scheduler", "orderworks_job_duration_seconds"),
    ("scheduler", "orderworks_job_wait_seconds"),
];

async fn metrics_of(base: &str) -> String {
    fetch(format!("{base}/metrics")).await.text().await.expect("a text")
}

/// The value of a series; `None` if it is not shown.
fn value(text: &str, series: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let values: Vec<_> = values.collect();
    assert!(values.len() < 2, "{series} is shown twice");
    values.first().map(|value| value.parse().expect("a number"))
}

/// The metrics once these series have these values.
async fn showing(base: &str, expected: &[(&str, f64)]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = metrics_of(base).await;
        let differing = expected.iter().find(|(series, wanted)| value(&text, series) != Some(*wanted));
        let Some((series, wanted)) = differing else { return text };
        assert!(Instant::now() < deadline, "{series} is not {wanted}: {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Type, labels and roles of each metric in the documentation.
fn documented() -> HashMap<String, [String; 3]> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/METRICS.md")).expect("a page");
    let (_, list) = page.split_once("\n## All metrics\n").expect("the list");
    let rows = list.lines().filter_map(|row| row.strip_prefix("| `"));
    let metrics = rows.map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        let name = cells[0].trim_end_matches('`').to_owned();
        (name, [cells[1], cells[3], cells[4]].map(str::to_owned))
    });
    metrics.collect()
}

/// Fails for a metric that is not documented as it is, or, with a role, not for this role.
fn check_documented(text: &str, role: Option<&str>) {
    let documented = documented();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for (name, kind) in types {
        let [known_kind, labels, roles] =
            documented.get(name).unwrap_or_else(|| panic!("{name} is not listed"));
        assert_eq!(kind, known_kind, "{name}");
        assert!(roles == "all" || role.is_none_or(|role| roles.contains(role)), "{name}: {role:?}");
        let known: Vec<_> = labels.split(", ").chain(["le"]).collect();
        let samples = text.lines().filter_map(|line| line.strip_prefix(name)?.split_once('{'));
        for (_, labels) in samples {
            let labels = labels.rsplit_once('}').expect("an end").0;
            let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0));
            for label in names {
                assert!(known.contains(&label), "{name}: {label}");
            }
        }
    }
}

/// Waits until a role shows each metric that the documentation promises of it.
async fn until_complete(base: &str, role: &str) {
    let documented = documented();
    let of_role = documented.iter().filter(|(_, [.., roles])| roles == "all" || roles.contains(role));
    let names = of_role.map(|(name, _)| name.as_str());
    let promised: Vec<_> = names.filter(|name| !MAY_BE_MISSING.contains(&(role, *name))).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = metrics_of(base).await;
        let missing = promised.iter().filter(|name| !text.contains(&format!("# TYPE {name} ")));
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{role} does not show {missing:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Checks a text as Prometheus does; skipped where it is not installed.
async fn check_form(text: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            base::testing::skip("there is no promtool; see `ops/services install prometheus`");
            return;
        }
        Err(error) => panic!("promtool does not run: {error}"),
    };
    let mut input = child.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).await.expect("takes the text");
    drop(input);
    let done = child.wait_with_output().await.expect("ends");
    let told = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(done.status.success() && told.is_empty(), "{told}");
}

/// Samples with their values.
type Samples = &'static [(&'static str, f64)];

#[tokio::test]
async fn one_order_shows_in_the_figures_of_every_part() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let id = dev.storefront().accepted("one", "pm_card_visa").await;
    assert_eq!(dev.merchant().ended(&id).await["status"], "fulfilled");
    let text = showing(
        &dev.ready.url,
        &[
            (r#"orderworks_http_requests_total{route="/v1/orders",method="POST",status="202"}"#, 1.0),
            (r#"orderworks_http_request_duration_seconds_count{route="/v1/orders",method="POST"}"#, 1.0),
            (r#"orderworks_orders_total{status="pending"}"#, 1.0),
            (r#"orderworks_orders_total{status="paid"}"#, 1.0),
            (r#"orderworks_orders_total{status="fulfilled"}"#, 1.0),
            (r#"orderworks_orders_total{status="cancelled"}"#, 0.0),
            (r#"orderworks_jobs_total{queue="payments",kind="charge_payment",outcome="completed"}"#, 1.0),
            (r#"orderworks_jobs_total{queue="payments",kind="charge_payment",outcome="dead"}"#, 0.0),
            (r#"orderworks_job_duration_seconds_count{queue="payments",kind="charge_payment"}"#, 1.0),
            (r#"orderworks_job_wait_seconds_count{queue="payments",kind="charge_payment"}"#, 1.0),
            (r#"orderworks_payments_total{provider="sandbox",outcome="captured"}"#, 1.0),
            (r#"orderworks_mails_total{template="order_confirmation",outcome="sent"}"#, 1.0),
            (r#"orderworks_breaker_open{provider="sandbox"}"#, 0.0),
            (r#"orderworks_queue_jobs{queue="payments",state="ready"}"#, 0.0),
            (r#"orderworks_queue_consumers{queue="payments"}"#, 1.0),
            (r#"orderworks_queue_desired_workers{queue="payments"}"#, 1.0),
            ("orderworks_outbox_pending", 0.0),
            ("orderworks_outbox_oldest_age_seconds", 0.0),
            ("orderworks_relay_failures_total", 0.0),
            (r#"orderworks_worker_restarts_total{queue="payments"}"#, 0.0),
            (r#"orderworks_defects_total{store="order"}"#, 0.0),
            ("orderworks_attempt_records_dropped_total", 0.0),
            (r#"orderworks_hook_calls_total{hook="tax",outcome="answered"}"#, 0.0),
        ],
    )
    .await;
    let above_zero = [
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_cpu_seconds_total",
        "process_open_fds",
        "orderworks_relay_messages_total",
        "orderworks_relay_jobs_total",
        "orderworks_relay_last_success_timestamp_seconds",
    ];
    for series in above_zero {
        assert!(value(&text, series).is_some_and(|value| value > 0.0), "{series}: {text}");
    }
    let shown = [
        r#"orderworks_consumer_last_contact_seconds{queue="email"}"#,
        r#"orderworks_scrape_errors_total{source="queue"}"#,
    ];
    for series in shown {
        assert!(value(&text, series).is_some(), "{series}: {text}");
    }
    assert!(
        text.contains(r#"orderworks_provider_call_seconds_count{provider="sandbox",operation="#),
        "{text}"
    );
    assert!(!text.contains(&id), "no ids");
    check_documented(&text, None);
    check_form(&text).await;
    assert!(dev.stop().await.success());
}

#[tokio::test]
async fn answers_and_pages_that_are_sent_again_are_counted_as_hits() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    for (hits, misses) in [(0.0, 3.0), (3.0, 3.0)] {
        let page = http().get(format!("{}/", dev.ready.url)).header("accept", "text/html").send().await;
        let page = page.expect("answers").error_for_status().expect("a page");
        assert!(page.text().await.expect("text").contains("<html"));
        // The page, and the two answers that it is made of.
        let expected = [
            (r#"orderworks_cache_requests_total{cache="page",result="local_hit"}"#, hits),
            (r#"orderworks_cache_requests_total{cache="page",result="miss"}"#, misses),
            (r#"orderworks_cache_requests_total{cache="page",result="stale"}"#, 0.0),
        ];
        showing(&dev.ready.url, &expected).await;
    }
    assert!(dev.stop().await.success());
}

#[tokio::test]
async fn a_figure_that_cannot_be_had_is_left_out_and_counted() {
    let data = tempfile::tempdir().expect("a folder");
    let away = absent_broker();
    let (relay, health) = Role::relay(data.path(), &rabbitmq_at(&away)).await;
    let began = Instant::now();
    let text = metrics_of(&format!("http://{health}")).await;
    assert!(began.elapsed() < Duration::from_secs(10), "no reader waits for the broker");
    let errors = value(&text, r#"orderworks_scrape_errors_total{source="queue"}"#);
    assert!(errors.is_some_and(|errors| errors > 0.0), "{text}");
    assert!(!text.contains("orderworks_queue_"), "{text}");
    assert_eq!(value(&text, "orderworks_outbox_pending"), Some(0.0), "and the others are there: {text}");
    assert_eq!(fetch(format!("http://{health}/scaling")).await.status(), 503, "no number is told");
    check_documented(&text, Some("relay"));
    check_form(&text).await;
    relay.stop().await;
}

/// Figures of each role after one order.
const FIGURES: [(&str, Samples); 5] = [
    (
        "api",
        &[
            (r#"orderworks_http_requests_total{route="/v1/orders",method="POST",status="202"}"#, 1.0),
            (r#"orderworks_pool_connections{pool="orders_api",state="waiting"}"#, 0.0),
            (r#"orderworks_rate_limited_total{limit="checkout-key"}"#, 0.0),
        ],
    ),
    (
        "relay",
        &[
            (r#"orderworks_orders_total{status="fulfilled"}"#, 1.0),
            (r#"orderworks_queue_consumers{queue="payments"}"#, 1.0),
            ("orderworks_outbox_pending", 0.0),
        ],
    ),
    (
        "worker",
        &[
            (r#"orderworks_jobs_total{queue="payments",kind="charge_payment",outcome="completed"}"#, 1.0),
            (r#"orderworks_payments_total{provider="sandbox",outcome="captured"}"#, 1.0),
            (r#"orderworks_mails_total{template="order_confirmation",outcome="sent"}"#, 1.0),
            (r#"orderworks_queue_jobs{queue="payments",state="dead"}"#, 0.0),
        ],
    ),
    (
        "scheduler",
        &[
            (r#"orderworks_verify_violations{invariant="I1"}"#, 0.0),
            (r#"orderworks_queue_jobs{queue="webhooks",state="dead"}"#, 0.0),
            ("orderworks_outbox_pending", 0.0),
        ],
    ),
    (
        "console",
        &[
            (r#"orderworks_queue_consumers{queue="payments"}"#, 1.0),
            (r#"orderworks_queue_jobs{queue="email",state="dead"}"#, 0.0),
            ("orderworks_outbox_pending", 0.0),
        ],
    ),
];

/// Each role with a queue tells how many workers that needs, once it could look; the API has none.
async fn check_scaling(base: &str, role: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut answer = fetch(format!("{base}/scaling")).await;
    while answer.status() == StatusCode::SERVICE_UNAVAILABLE {
        assert!(Instant::now() < deadline, "{role} tells no number of workers");
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = fetch(format!("{base}/scaling")).await;
    }
    if role == "api" {
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        return;
    }
    assert_eq!(answer.status(), StatusCode::OK, "{role}");
    let told: Value = answer.json().await.expect("JSON");
    let desired = told["payments"]["desired_workers"].as_u64();
    assert!(desired.is_some_and(|workers| workers > 0), "{role}: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_shows_its_own_figures() {
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let addresses = [(); 6].map(|()| format!("127.0.0.1:{}", free_port()));
    let [listen, api, relay, worker, scheduler, console] = &addresses;
    let roles = [
        stage.role(&["api", "--listen", listen, "--health", api]),
        stage.role(&["relay", "--health", relay]),
        stage.role(&["worker", "--health", worker]),
        stage.role(&["scheduler", "--health", scheduler]),
        stage.role_with(&[TOKENS], &["console", "--listen", "127.0.0.1:0", "--health", console]),
    ];
    for address in &addresses {
        ready(address, |report| report["status"] == "ok").await;
    }
    let shop = TestMerchant::open(&stage, &format!("http://{listen}"), &["CUP"], 10).await;
    let (status, order) =
        shop.client.place("one", &shop.order("CUP", 1, "pm_card_visa")).await.expect("answers");
    assert!(status.is_success(), "{order}");
    shop.client.ended(order["id"].as_str().expect("an id")).await;

    for ((role, series), address) in FIGURES.into_iter().zip([api, relay, worker, scheduler, console]) {
        let base = format!("http://{address}");
        let text = showing(&base, series).await;
        assert!(value(&text, "process_open_fds").is_some_and(|files| files > 0.0), "{role}: {text}");
        check_documented(&text, Some(role));
        check_form(&text).await;
        until_complete(&base, role).await;
        check_scaling(&base, role).await;
    }
    for role in roles {
        role.stop().await;
    }
    stage.close().await;
}
