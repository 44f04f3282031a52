//! Monitoring around the product: every query of the dashboards, asked of the real Prometheus while all roles run and
//! orders go through, exemplars that it has stored, and the targets of the container stacks.
//!
//! Guarantees: a query that Prometheus refuses fails the test, and one without a number in its answer, but for those of
//! [`MAY_BE_EMPTY`]. Whether an answer is the right one is tested where the metrics are, see `metrics`; alert rules
//! are tested by `ops/prometheus/run`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use base::{Ambient, testing::skip};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use url::Url;

use crate::util::{
    Collector, Haproxy, TestMerchant, TestServers, alone, containers::stack, free_port, http, ready,
};

/// Queries without an answer in a deployment that is well and young: dashboard, title of the panel, query.
const MAY_BE_EMPTY: [(&str, &str, &str); 5] = [
    // No request fails.
    ("api", "Errors by route", "A"),
    // The shop has no hooks.
    ("api", "p95 of hooks", "A"),
    // Alerts of the machine fire as it likes.
    ("overview", "Alerts", "A"),
    ("overview", "Alerts", "B"),
    // The first one comes after minutes.
    ("orders", "Last audit", "A"),
];
/// Longest time until every query has an answer. A rate needs two scrapes with traffic between them, which Prometheus
/// makes every five seconds, and a recording rule one evaluation after that.
const ANSWERS_MAX: Duration = Duration::from_mins(3);
/// In place of Grafana's own: long enough for several scrapes, short enough to see this test's traffic only.
const RATE_INTERVAL: &str = "30s";
/// Queries of the dashboards at least; fewer mean that they were not found.
const QUERIES_MIN: usize = 100;

/// A query of a panel, as Prometheus is asked.
struct PanelQuery {
    dashboard: String,
    panel: String,
    id: String,
    expression: String,
}

/// The dashboards, by name.
fn dashboards() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/grafana/dashboards");
    let files = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let read = |path: PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = fs::read_to_string(path).expect("a file");
        let dashboard: Value = serde_json::from_str(&text).expect("JSON");
        (name, dashboard)
    };
    files.map(read).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Variables of a dashboard that are asked of Prometheus: name, metric, label.
fn variables(dashboard: &Value) -> Vec<(&str, &str, &str)> {
    let asked = list(&dashboard["templating"]["list"]).iter().filter(|variable| variable["type"] == "query");
    let parsed = asked.map(|variable| {
        let query = text(&variable["query"]).strip_prefix("label_values(").and_then(|q| q.strip_suffix(')'));
        let (metric, label) = query.and_then(|query| query.split_once(", ")).expect("label_values");
        (text(&variable["name"]), metric, label)
    });
    parsed.collect()
}

/// All queries of a dashboard, for all values of its variables.
fn queries(name: &str, dashboard: &Value) -> Vec<PanelQuery> {
    let variables = variables(dashboard);
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row") {
        for target in list(&panel["targets"]) {
            let mut expression = text(&target["expr"]).replace("$__rate_interval", RATE_INTERVAL);
            for (variable, ..) in &variables {
                expression = expression.replace(&format!("${variable}"), ".*");
            }
            assert!(!expression.contains('$'), "{expression}");
            queries.push(PanelQuery {
                dashboard: name.to_owned(),
                panel: text(&panel["title"]).to_owned(),
                id: text(&target["refId"]).to_owned(),
                expression,
            });
        }
    }
    queries
}

impl PanelQuery {
    fn key(&self) -> (&str, &str, &str) {
        (&self.dashboard, &self.panel, &self.id)
    }

    fn may_be_empty(&self) -> bool {
        MAY_BE_EMPTY.contains(&self.key())
    }

    fn name(&self) -> String {
        format!("{}, {}, {}: {}", self.dashboard, self.panel, self.id, self.expression)
    }
}

/// The real Prometheus, with targets of this test that go with it.
struct Prometheus {
    url: String,
    client: reqwest::Client,
    targets: PathBuf,
}

impl Prometheus {
    /// Makes the processes of the product and a proxy targets.
    fn watching(url: String, folder: &str, roles: &[String], proxy: &str) -> Self {
        let name = format!("test-{}.json", Ambient::system().uuid().simple());
        let targets = Path::new(folder).join(name);
        let jobs = json!([
            { "targets": roles, "labels": { "job": "orderworks" } },
            { "targets": [proxy], "labels": { "job": "haproxy" } },
        ]);
        // By another name first: Prometheus reads the folder at any moment.
        let unread = targets.with_extension("new");
        fs::write(&unread, jobs.to_string()).expect("writes");
        fs::rename(unread, &targets).expect("renames");
        Self { url, client: http(), targets }
    }

    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = Url::parse_with_params(&format!("{}{path}", self.url), parameters).expect("a URL");
        let answer: Value = self.client.get(url).send().await.expect("answers").json().await.expect("JSON");
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].clone()
    }

    /// Whether the answer has a number; that of a division by zero is none.
    async fn answers(&self, query: &PanelQuery) -> bool {
        let data = self.ask("/api/v1/query", &[("query", query.expression.as_str())]).await;
        let is_number = |sample: &Value| sample["value"][1].as_str().is_some_and(|number| number != "NaN");
        list(&data["result"]).iter().any(is_number)
    }

    /// Ids of traces that the exemplars of a histogram name.
    async fn exemplars(&self, histogram: &str) -> Vec<String> {
        let query = format!("{histogram}_bucket");
        let data = self.ask("/api/v1/query_exemplars", &[("query", query.as_str())]).await;
        let all = list(&data).iter().flat_map(|series| list(&series["exemplars"]));
        all.map(|exemplar| text(&exemplar["labels"]["trace_id"]).to_owned()).collect()
    }

    async fn has_values(&self, metric: &str, label: &str) -> bool {
        let path = format!("/api/v1/label/{label}/values");
        !list(&self.ask(&path, &[("match[]", metric)]).await).is_empty()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.targets));
    }
}

/// Address or folder of a server; `None`, with the reason printed, if it is not set.
fn server(name: &str) -> Option<String> {
    let variable = format!("ORDERWORKS_TEST_{name}");
    let value = std::env::var(&variable).ok();
    if value.is_none() {
        skip(&format!("{variable} is not set; see `ops/services up --replica redis monitoring`"));
    }
    value
}

/// The address of a database at the host and port of another server.
fn at_server(database: &str, server: &str) -> String {
    let parsed = |url: &str| url.parse::<Url>().expect("a URL");
    let (mut url, server) = (parsed(database), parsed(server));
    url.set_host(server.host_str()).expect("takes a host");
    url.set_port(server.port()).expect("takes a port");
    url.into()
}

/// One order to its end, every third one declined, every fourth of the others refunded; and a look at the catalog.
async fn trade(shop: &TestMerchant, number: usize) {
    let method = if number % 3 == 2 { "pm_card_chargeDeclined" } else { "pm_card_visa" };
    let key = format!("order-{number}");
    let (status, order) = shop.client.place(&key, &shop.order("CUP", 1, method)).await.expect("answers");
    assert_eq!(status, StatusCode::ACCEPTED, "{order}");
    let id = text(&order["id"]);
    let ended = shop.client.ended(id).await;
    if number.is_multiple_of(4) && ended["status"] == "fulfilled" {
        let headers = [("idempotency-key", key.as_str())];
        let path = format!("/v1/orders/{id}/refund");
        let (status, refund) = shop.client.send_with(Method::POST, &path, &headers, Some(&json!({}))).await;
        assert!(status.is_success(), "{refund}");
    }
    shop.client.get("/v1/products").await;
}

/// Trades until every query that must have an answer has had one.
async fn until_answered(prometheus: &Prometheus, shop: &TestMerchant, mut open: Vec<PanelQuery>) {
    let deadline = Instant::now() + ANSWERS_MAX;
    for number in 0.. {
        trade(shop, number).await;
        let mut silent = Vec::new();
        for query in open {
            // Asked in any case: an error is one also where nothing must be there.
            if !prometheus.answers(&query).await && !query.may_be_empty() {
                silent.push(query);
            }
        }
        if silent.is_empty() {
            return;
        }
        let names: Vec<_> = silent.iter().map(PanelQuery::name).collect();
        assert!(Instant::now() < deadline, "without an answer: {names:#?}");
        open = silent;
        // Prometheus tells no event of its scrapes.
        sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until exemplars of requests and of runs name traces that the collector has.
async fn until_exemplars(prometheus: &Prometheus, collector: &Collector) {
    let deadline = Instant::now() + ANSWERS_MAX;
    for histogram in ["orderworks_http_request_duration_seconds", "orderworks_job_duration_seconds"] {
        loop {
            let named = prometheus.exemplars(histogram).await;
            let spans = collector.spans();
            if named.iter().any(|trace| spans.iter().any(|span| span.trace == *trace)) {
                break;
            }
            assert!(Instant::now() < deadline, "{histogram}: is exemplar-storage enabled? {named:?}");
            // Prometheus tells no event of its scrapes.
            sleep(Duration::from_millis(500)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_dashboards_has_an_answer() {
    let _alone = alone().await;
    let Some(url) = server("PROMETHEUS_URL") else { return };
    let Some(folder) = server("MONITORING_TARGETS") else { return };
    let (Some(redis), Some(replica)) = (server("REDIS_URL"), server("POSTGRES_REPLICA_URL")) else { return };
    let Some(program) = Haproxy::program() else { return };
    let Some(mut stage) = TestServers::open().await else { return };
    let database = stage.database.url_of_owner().await;
    stage.set("POSTGRES_REPLICA_URLS", &format!("{:?}", [at_server(database.expose_secret(), &replica)]));
    let collector = Collector::start().await;
    stage.set("TRACES_ENDPOINT", &collector.url);
    stage.set("ENGINES_CACHE", "redis");
    stage.set("REDIS_URL", &redis);
    stage.set("REDIS_PREFIX", &format!("ow-test-{}", Ambient::system().uuid().simple()));

    let [listen, api, relay, worker, scheduler] = [(); 5].map(|()| format!("127.0.0.1:{}", free_port()));
    let roles = [
        stage.role(&["api", "--listen", &listen, "--health", &api]),
        stage.role(&["relay", "--health", &relay]),
        stage.role(&["worker", "--health", &worker]),
        stage.role(&["scheduler", "--health", &scheduler]),
    ];
    for address in [&listen, &api, &relay, &worker, &scheduler] {
        ready(address, |report| report["status"] == "ok").await;
    }
    let proxy = Haproxy::start(&program, &listen, None).await;
    let watched = [api, relay, worker, scheduler];
    let prometheus = Prometheus::watching(url, &folder, &watched, &proxy.metrics);
    let shop = TestMerchant::open(&stage, &format!("http://{}", proxy.address), &["CUP"], 10_000).await;

    let dashboards = dashboards();
    let queries: Vec<_> = dashboards.iter().flat_map(|(name, board)| queries(name, board)).collect();
    assert!(queries.len() > QUERIES_MIN, "{}", queries.len());
    until_answered(&prometheus, &shop, queries).await;
    until_exemplars(&prometheus, &collector).await;
    for (name, board) in &dashboards {
        for (variable, metric, label) in variables(board) {
            assert!(prometheus.has_values(metric, label).await, "{name}: {variable} has no values");
        }
    }
    for role in roles {
        role.stop().await;
    }
    drop(prometheus);
    stage.close().await;
}

#[test]
fn queries_that_may_be_empty_are_those_of_panels_that_exist() {
    let queries: Vec<_> = dashboards().iter().flat_map(|(name, board)| queries(name, board)).collect();
    for exception in MAY_BE_EMPTY {
        assert!(queries.iter().any(|query| query.key() == exception), "{exception:?}");
    }
}

#[test]
fn prometheus_of_the_container_stacks_reads_services_that_exist() {
    let stacks = ["full.yml", "replicated.yml"].map(stack);
    // The alias of all nodes of the broker, and Prometheus itself.
    let known = |host: &str| {
        ["amqp", "localhost"].contains(&host) || stacks.iter().any(|stack| stack.contains_key(host))
    };
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/prometheus.yml");
    let settings = fs::read_to_string(settings).expect("the settings");
    let settings: serde_yaml_ng::Value = serde_yaml_ng::from_str(&settings).expect("YAML");
    for job in settings["scrape_configs"].as_sequence().expect("jobs") {
        let of = |kind: &str, key: &str| -> Vec<String> {
            let configs = job[kind].as_sequence().into_iter().flatten();
            let names = configs.flat_map(|config| config[key].as_sequence().expect("a list"));
            names.map(|name| name.as_str().expect("a name").to_owned()).collect()
        };
        let hosts = [of("dns_sd_configs", "names"), of("static_configs", "targets")].concat();
        assert!(!hosts.is_empty(), "{job:?}");
        for host in hosts {
            let host = host.split(':').next().expect("a host");
            assert!(known(host), "{host} is no service");
        }
    }
}
