//! The page of all metrics, in step with their declarations.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsStr,
    fs,
};

use super::{
    admission, buffers, cache, card_testing, exposition, hooks, http, mails,
    metric::{Metric, MetricKind},
    outbox, payments, process, queues, rate_limits, relay, runs, scaling, stores, traces, verify, webhooks,
};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
/// The declarations, a file for each area, and this one.
const AREAS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/metrics");
const SOURCE: &str = include_str!("document.rs");
/// Above it the page is written by hand.
const MARK: &str = "\n## All metrics\n\n";
const ALL_ROLES: &str = "all";
const WITH_QUEUE: &str = "relay, worker, scheduler, console";
const WITH_RUNS: &str = "worker, scheduler";
const WITH_OUTBOX: &str = "relay, scheduler, console";

/// Every metric, with the roles that show it.
const METRICS: [(&Metric, &str); 57] = [
    (&admission::ORDERS, "api"),
    (&buffers::RECORDS_DROPPED, WITH_RUNS),
    (&buffers::REPORTS_DROPPED, WITH_RUNS),
    (&cache::REQUESTS, "api"),
    (&card_testing::ALARMS, "api"),
    (&card_testing::ATTEMPTS, "api"),
    (&card_testing::PAYMENTS, "api"),
    (&exposition::SCRAPE_ERRORS, WITH_QUEUE),
    (&hooks::CALLS, "api"),
    (&hooks::DURATION, "api"),
    (&http::DURATION, "api"),
    (&http::REQUESTS, "api"),
    (&mails::MAILS, "worker"),
    (&outbox::OLDEST_AGE, WITH_OUTBOX),
    (&outbox::PENDING, WITH_OUTBOX),
    (&payments::BREAKER, "worker"),
    (&payments::CALLS, "worker"),
    (&payments::PAYMENTS, "worker"),
    (&process::CPU_SECONDS, ALL_ROLES),
    (&process::FILES_MAX, ALL_ROLES),
    (&process::OPEN_FILES, ALL_ROLES),
    (&process::RESIDENT_BYTES, ALL_ROLES),
    (&process::START_SECONDS, ALL_ROLES),
    (&process::VIRTUAL_BYTES, ALL_ROLES),
    (&queues::CONSUMERS, WITH_QUEUE),
    (&queues::JOBS, WITH_QUEUE),
    (&queues::OLDEST_AGE, WITH_QUEUE),
    (&queues::PAUSED, WITH_QUEUE),
    (&queues::SHORT_DELAYS, WITH_QUEUE),
    (&rate_limits::RATE_LIMITED, "api"),
    (&relay::FAILURES, "relay"),
    (&relay::JOBS, "relay"),
    (&relay::LAST_SUCCESS, "relay"),
    (&relay::MESSAGES, "relay"),
    (&relay::ORDERS, "relay"),
    (&relay::SET_ASIDE, "relay"),
    (&runs::CONTACT, WITH_RUNS),
    (&runs::DURATION, WITH_RUNS),
    (&runs::JOBS, WITH_RUNS),
    (&runs::RESTARTS, WITH_RUNS),
    (&runs::RUNNING, WITH_RUNS),
    (&runs::SLOTS, WITH_RUNS),
    (&runs::STALE, WITH_RUNS),
    (&runs::WAIT, WITH_RUNS),
    (&scaling::DESIRED, WITH_QUEUE),
    (&stores::CONNECTIONS, ALL_ROLES),
    (&stores::DEFECTS, ALL_ROLES),
    (&stores::REPLICA_LAG, "api"),
    (&stores::REPLICA_READS, "api"),
    (&stores::WAIT, ALL_ROLES),
    (&traces::SPANS, ALL_ROLES),
    (&verify::LAST_RUN, "scheduler"),
    (&verify::OPEN, "scheduler"),
    (&verify::ORDERS, "scheduler"),
    (&verify::VIOLATIONS, "scheduler"),
    (&webhooks::DELIVERIES, "worker"),
    (&webhooks::DISABLED, "worker"),
];

/// The base unit that the name ends in.
fn unit(name: &str) -> &'static str {
    let name = name.trim_end_matches("_total");
    ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit)).unwrap_or("-")
}

fn table() -> String {
    let mut metrics = METRICS;
    metrics.sort_unstable_by_key(|(metric, _)| metric.name);
    let rows = metrics.map(|(metric, roles)| {
        let Metric { name, kind, labels, help } = metric;
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(", ") };
        let (kind, unit) = (kind.as_str(), unit(name));
        format!("| `{name}` | {kind} | {unit} | {labels} | {roles} | {help} |\n")
    });
    let head = "| name | type | unit | labels | roles | meaning |\n|---|---|---|---|---|---|\n";
    format!("{head}{}", rows.concat())
}

/// After an intended change: `UPDATE_METRICS=1 cargo test -p orderworks --bin orderworks metrics::document`, and read
/// the difference.
#[test]
fn the_page_lists_every_metric_as_it_is_declared() {
    let page = fs::read_to_string(PAGE).expect("the page");
    let (by_hand, listed) = page.split_once(MARK).expect("the part that is written");
    let declared = table();
    if std::env::var_os("UPDATE_METRICS").is_some() {
        fs::write(PAGE, format!("{by_hand}{MARK}{declared}")).expect("writes the page");
        return;
    }
    assert!(
        listed == declared,
        "docs/METRICS.md differs from the declarations: run UPDATE_METRICS=1 cargo test -p orderworks --bin orderworks \
         metrics::document to write it"
    );
}

/// Names of the metrics that a source declares, with its module.
fn declared(module: &str, source: &str) -> Vec<String> {
    let name = |line: &str| {
        let line = line.strip_prefix("pub(super) ").unwrap_or(line);
        let (name, _) = line.strip_prefix("const ")?.split_once(": Metric =")?;
        Some(format!("{module}::{name}"))
    };
    source.lines().filter_map(name).collect()
}

#[test]
fn every_declaration_is_in_the_list() {
    let mut all = BTreeSet::new();
    for file in fs::read_dir(AREAS).expect("the folder") {
        let path = file.expect("a file").path();
        let module = path.file_stem().and_then(OsStr::to_str).expect("a name");
        all.extend(declared(module, &fs::read_to_string(&path).expect("a source")));
    }
    let name = |line: &str| Some(line.strip_prefix("    (&")?.split_once(',')?.0.to_owned());
    let listed: BTreeSet<String> = SOURCE.lines().filter_map(name).collect();
    assert_eq!(listed.len(), METRICS.len(), "the list is read as it is written");
    assert_eq!(all, listed, "declared, and listed in METRICS with the roles that show it");
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    let mut names = HashSet::new();
    for (Metric { name, kind, labels, help }, _) in METRICS {
        assert!(names.insert(name), "{name} is declared twice");
        assert!(name.starts_with("orderworks_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
        assert_eq!(unit(name) == "seconds", name.trim_end_matches("_total").ends_with("_seconds"), "{name}");
        assert!(*kind != MetricKind::Histogram || unit(name) == "seconds", "{name}");
        let is_label = |label: &&str| label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        assert!(labels.iter().all(is_label) && !labels.contains(&"le"), "{name}");
        // As it is, it stands in a table and in both text forms.
        assert!(!help.is_empty() && !help.ends_with('.') && !help.contains(['|', '"', '\\', '\n']), "{name}");
    }
}
