//! Pages, CSV and JSON: what they show, what they do not, and that every link leads somewhere.

use std::{collections::BTreeSet, time::Duration};

use base::{Timestamp, time::earlier};
use console::access::Role;
use http::StatusCode;
use jobs::{
    CancellationToken, JobId,
    job_store::{NotedRun, WorkerNote},
    records::{AttemptOutcome, AttemptRecord},
};
use serde_json::Value;

use crate::util::{CUSTOMER, Deployment, HOSTILE_ERROR, PATIENCE, PAYLOAD_CANARY, QUEUE, attempt};

/// Most pages visited from link to link.
const VISITS_MAX: usize = 500;
/// The one element of a script, which stands in pages that renew themselves.
const SCRIPT: &str =
    concat!("<script src=\"/assets/console.js?v=", env!("CARGO_PKG_VERSION"), "\" defer></script>");

#[tokio::test]
async fn every_link_of_every_page_answers() {
    let shop = Deployment::open_with(true).await;
    let order = format!("/orders/{}", shop.order);
    let (mut open, mut seen) = (vec!["/".to_owned(), order], BTreeSet::new());
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        assert!(seen.len() < VISITS_MAX, "pages without end: {path}");
        let reply = shop.get(Role::Admin, &path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.body);
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        let is_live = path.contains("live=on");
        assert_eq!(policy.contains("script-src 'self';"), is_live, "{path}: {policy}");
        let lower = if is_live { reply.body.replacen(SCRIPT, "", 1) } else { reply.body.clone() };
        let lower = lower.to_lowercase();
        let is_plain = !["<script", "<img", " style=", " onload="].iter().any(|part| lower.contains(part));
        assert!(is_plain || path.contains("format=csv"), "{path}: {}", reply.body);
        if !path.starts_with("/assets") {
            assert_eq!(reply.header("cache-control"), "no-store", "{path}");
        }
        open.extend(reply.links().into_iter().map(|href| href.split('#').next().unwrap_or("/").to_owned()));
    }
    let depth = shop.parts.engine.depth(QUEUE).await.expect("depth");
    assert_eq!(
        (depth.ready, depth.delayed, depth.dead, depth.paused),
        (1, 1, 1, false),
        "a link changes nothing"
    );
    assert!(shop.parts.store.operations(None).await.expect("lists").is_empty());
    for page in ["/queues/email", "/jobs?queue=email&state=dead", "/dead", "/audit", "/operations"] {
        assert!(seen.contains(page), "no link to {page} in {seen:?}");
    }
    for job in [shop.ready, shop.delayed, shop.dead] {
        assert!(seen.contains(&format!("/jobs/{job}")), "no link to {job}");
    }
}

#[tokio::test]
async fn payloads_and_customers_are_shown_to_admins_where_the_setting_says_so() {
    let pages = |shop: &Deployment| {
        let (job, order) = (format!("/jobs/{}", shop.dead), format!("/orders/{}", shop.order));
        let of_both = ["", "?format=csv"].map(|form| [format!("{job}{form}"), format!("{order}{form}")]);
        let json = ["/overview", "/jobs", "/dead", "/operations", &job, &order];
        let mut all: Vec<String> = of_both.into_iter().flatten().collect();
        all.extend(json.map(|path| format!("/api/v1{path}")));
        all.extend(["/", "/jobs", "/jobs?format=csv", "/dead"].map(str::to_owned));
        all
    };
    let shows = async |shop: &Deployment, role, path: &str| {
        let reply = shop.get(role, path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", reply.body);
        reply.body.contains(PAYLOAD_CANARY) || reply.body.contains("ada@customer.example")
    };
    let hidden = Deployment::open_with(false).await;
    for role in Role::ALL {
        for page in pages(&hidden) {
            assert!(!shows(&hidden, role, &page).await, "{role:?} {page}");
        }
    }
    let shown = Deployment::open_with(true).await;
    for role in [Role::Viewer, Role::Operator] {
        for page in pages(&shown) {
            assert!(!shows(&shown, role, &page).await, "{role:?} {page}");
        }
    }
    for page in [format!("/jobs/{}", shown.dead), format!("/api/v1/orders/{}", shown.order)] {
        assert!(shows(&shown, Role::Admin, &page).await, "{page}");
    }
}

#[tokio::test]
async fn hostile_values_are_shown_as_text() {
    let shop = Deployment::open_with(true).await;
    let pages = ["/dead".to_owned(), "/jobs".to_owned(), format!("/jobs/{}", shop.dead)];
    for page in pages.into_iter().chain([format!("/orders/{}", shop.order)]) {
        let body = shop.get(Role::Admin, &page).await.body;
        assert!(!body.contains(HOSTILE_ERROR) && !body.contains(CUSTOMER), "{page}: {body}");
        assert!(body.contains("&#60;script&#62;"), "{page}: {body}");
    }
    let searched = shop.get(Role::Admin, "/jobs?q=%22%3E%3Cscript%3E").await.body;
    assert!(!searched.contains("<script"), "{searched}");
}

#[tokio::test]
async fn bad_input_gets_a_page_that_says_what_is_wrong() {
    let shop = Deployment::open().await;
    let unknown = JobId::fresh(&shop.parts.ambient);
    for (path, status, said) in [
        ("/jobs?state=lost".to_owned(), StatusCode::BAD_REQUEST, "use one of ready, delayed, running, dead"),
        ("/jobs?after=nonsense".to_owned(), StatusCode::BAD_REQUEST, "expected an id"),
        ("/jobs/nonsense".to_owned(), StatusCode::BAD_REQUEST, "expected an id"),
        (format!("/jobs/{unknown}"), StatusCode::NOT_FOUND, "nothing is known"),
        ("/queues/none".to_owned(), StatusCode::NOT_FOUND, "there is no queue"),
        ("/orders/ord_1".to_owned(), StatusCode::BAD_REQUEST, "expected an id"),
        ("/schedules?name=none".to_owned(), StatusCode::NOT_FOUND, "there is no schedule"),
        ("/operations/op_1".to_owned(), StatusCode::BAD_REQUEST, "expected an id"),
        ("/nowhere".to_owned(), StatusCode::NOT_FOUND, "there is no such page"),
    ] {
        let reply = shop.get(Role::Viewer, &path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        assert!(reply.body.contains(said) && reply.body.contains("<main"), "{path}: {}", reply.body);
        let reply = shop.get(Role::Viewer, &format!("/api/v1{path}")).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, "application/problem+json"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_list_is_the_same_as_page_csv_and_json() {
    let shop = Deployment::open().await;
    let page = shop.get(Role::Viewer, "/jobs?queue=email").await.body;
    let csv = shop.get(Role::Viewer, "/jobs?queue=email&format=csv").await;
    assert!(csv.header("content-type").starts_with("text/csv"), "{csv:?}");
    assert_eq!(csv.body.lines().count(), 4, "a line of headings and three jobs: {}", csv.body);
    let json = shop.get(Role::Viewer, "/api/v1/jobs?queue=email").await.body;
    for job in [shop.ready, shop.delayed, shop.dead] {
        let id = job.to_string();
        assert!([&page, &csv.body, &json].iter().all(|text| text.contains(&id)), "{id}");
    }
    let dead = shop.get(Role::Viewer, "/api/v1/jobs?state=dead").await.body;
    assert!(dead.contains(&shop.dead.to_string()) && !dead.contains(&shop.ready.to_string()), "{dead}");
}

#[tokio::test]
async fn an_order_is_one_timeline_and_a_queue_without_consumers_is_told() {
    let shop = Deployment::open().await;
    let order = shop.get(Role::Viewer, &format!("/orders/{}", shop.order)).await.body;
    for part in ["order accepted", "order.placed", "send_mail: attempt 1 dead", &shop.dead.to_string()] {
        assert!(order.contains(part), "{part}: {order}");
    }
    let overview = shop.get(Role::Viewer, "/").await.body;
    assert!(overview.contains(&format!("Nobody consumes: {QUEUE}")), "{overview}");
    let found = shop.get(Role::Viewer, &format!("/search?q={}", shop.order)).await;
    assert_eq!(found.location(), format!("/orders/{}", shop.order));
}

#[tokio::test]
async fn a_mail_that_was_refused_stands_above_the_timeline_until_it_is_sent() {
    let shop = Deployment::open().await;
    let of = |outcome, error: Option<&str>| AttemptRecord {
        outcome,
        error: error.map(str::to_owned),
        ..attempt(shop.ready, shop.order, &shop.parts.ambient)
    };
    let path = format!("/orders/{}", shop.order);
    let told = "send_mail gave up: smtp_refused_550.";
    let refused = of(AttemptOutcome::Cancelled, Some("smtp_refused_550"));
    shop.parts.records.append(vec![refused].into()).await.expect("records");
    let page = shop.get(Role::Viewer, &path).await.body;
    assert!(page.contains(told) && page.contains("send_mail: attempt 1 cancelled"), "{page}");
    let again = AttemptRecord { attempt: 2, ..of(AttemptOutcome::Completed, None) };
    shop.parts.records.append(vec![again].into()).await.expect("records");
    let page = shop.get(Role::Viewer, &path).await.body;
    assert!(!page.contains(told), "{page}");
}

#[tokio::test]
async fn dead_jobs_are_counted_by_error_and_each_error_leads_to_its_jobs() {
    let shop = Deployment::open().await;
    let dead: Value =
        serde_json::from_str(&shop.get(Role::Viewer, "/api/v1/dead").await.body).expect("is JSON");
    assert_eq!((&dead["errors"][0]["error"], &dead["errors"][0]["jobs"]), (&HOSTILE_ERROR.into(), &1.into()));
    let page = shop.get(Role::Viewer, "/dead").await;
    let links = page.links();
    let link = links.iter().find(|link| link.contains("error=")).expect("a link to the jobs");
    let jobs = shop.get(Role::Viewer, link).await;
    assert_eq!(jobs.status, StatusCode::OK, "{link}");
    assert!(jobs.body.contains(&shop.dead.to_string()), "{link}: {}", jobs.body);
    assert!(!jobs.body.contains(&shop.ready.to_string()), "{link}: {}", jobs.body);
}

#[tokio::test]
async fn running_jobs_are_told_with_their_worker_and_since_when() {
    let shop = Deployment::open().await;
    let now = shop.parts.ambient.now();
    let runs = vec![NotedRun { job: shop.ready, since: earlier(now, Duration::from_mins(5)) }];
    shop.parts.store.note_workers(vec![WorkerNote { runs, ..note("w-2", now) }]).await.expect("notes");
    for path in ["/workers", "/queues/email"] {
        let page = shop.get(Role::Viewer, path).await;
        assert!(page.links().contains(&format!("/jobs/{}", shop.ready)), "{path}: {}", page.body);
        assert!(page.body.contains("5 min ago"), "{path}: {}", page.body);
    }
}

#[tokio::test]
async fn a_process_that_did_not_stop_in_order_is_told_as_lost_for_an_hour() {
    let shop = Deployment::open().await;
    let now = shop.parts.ambient.now();
    let before = |minutes| earlier(now, Duration::from_mins(minutes));
    let notes = vec![note("w-lives", now), note("w-killed", before(10)), note("w-of-old", before(61))];
    shop.parts.store.note_workers(notes).await.expect("notes");
    let page = shop.get(Role::Viewer, "/workers").await.body;
    assert!(page.contains("Lost within an hour") && page.contains("10 min ago"), "{page}");
    assert!(page.contains("w-lives") && !page.contains("w-of-old"), "{page}");
    let told: Value =
        serde_json::from_str(&shop.get(Role::Viewer, "/api/v1/workers").await.body).expect("is JSON");
    let lost: Vec<_> = told["lost"].as_array().expect("a list").iter().map(|note| &note["worker"]).collect();
    assert_eq!(lost, ["w-killed"], "{told}");
    let overview = shop.get(Role::Viewer, "/").await.body;
    assert!(overview.contains("Worker processes lost within an hour: 1"), "{overview}");
}

/// The note of a process with one slot of [`QUEUE`], which it uses.
pub(crate) fn note(worker: &str, noted_at: Timestamp) -> WorkerNote {
    WorkerNote {
        worker: worker.to_owned(),
        queue: QUEUE.to_owned(),
        release: "1.0.0".to_owned(),
        started_at: noted_at,
        noted_at,
        slots: 1,
        used: 1,
        configured: 1,
        contact_at: Some(noted_at),
        trouble: None,
        runs: Vec::new(),
        ended: 0,
        busy_ms: 0,
        held_back: false,
    }
}

#[tokio::test]
async fn a_live_page_renews_itself_with_script_and_without() {
    let shop = Deployment::open().await;
    let still = shop.get(Role::Viewer, "/").await.body;
    assert!(!still.contains("refresh") && !still.contains("<script"), "{still}");
    for (path, seconds) in [("/", 5), ("/queues/email", 5), ("/jobs", 15), ("/dead", 15)] {
        let live = shop.get(Role::Viewer, &format!("{path}?live=on")).await;
        let without = format!("<noscript><meta http-equiv=\"refresh\" content=\"{seconds}\"></noscript>");
        let with = format!("<body data-renew-seconds=\"{seconds}\">");
        for part in [SCRIPT, &without, &with] {
            assert!(live.body.contains(part), "{path}: {part}: {}", live.body);
        }
        assert_eq!(live.header("refresh"), "", "the script alone renews where there is one");
    }
    let script = shop.get(Role::Viewer, "/assets/console.js").await;
    assert_eq!(script.header("content-type"), "text/javascript; charset=utf-8");
    assert!(script.body.contains("document.hidden"), "{}", script.body);
}

#[tokio::test]
async fn open_tabs_share_one_look_at_engine_and_stores() {
    let shop = Deployment::open().await;
    let tabs =
        ["/overview", "/queues", "/queues/email", "/workers", "/overview"].map(|tab| format!("/api/v1{tab}"));
    let tabs: Vec<&str> = tabs.iter().chain(&tabs).map(String::as_str).collect();
    let replies = shop.get_at_once(Role::Viewer, &tabs).await;
    assert_eq!(replies.len(), 10);
    let looks: BTreeSet<String> = replies
        .iter()
        .map(|reply| {
            let shown: Value = serde_json::from_str(&reply.body).expect("is JSON");
            shown["at"].as_str().expect("a time").to_owned()
        })
        .collect();
    assert_eq!(looks.len(), 1, "each look has a time of its own: {looks:?}");
}

#[tokio::test]
async fn the_last_hour_is_drawn_and_told_and_workers_that_are_missing_too() {
    let shop = Deployment::open().await;
    let before = shop.get(Role::Viewer, "/").await.body;
    assert!(!before.contains("<svg") && before.contains(">0 / 3<"), "{before}");
    let stop = CancellationToken::new();
    let kept = shop.keep_history(stop.clone());
    let sampled = async {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        loop {
            let body = shop.get(Role::Viewer, "/api/v1/queues/email").await.body;
            let queue: Value = serde_json::from_str(&body).expect("is JSON");
            if queue["history"].as_array().is_some_and(|samples| !samples.is_empty()) {
                return queue;
            }
            tick.tick().await;
        }
    };
    let queue = tokio::time::timeout(PATIENCE, sampled).await.expect("is sampled");
    assert_eq!((&queue["history"][0]["ready"], &queue["desired_workers"]), (&1.into(), &3.into()), "{queue}");
    for page in ["/", "/queues", "/queues/email"] {
        let body = shop.get(Role::Viewer, page).await.body;
        assert!(body.contains("<svg") && body.contains("aria-label=\"Ready jobs, last "), "{page}: {body}");
        assert!(body.contains("1 to 1"), "{page}: {body}");
    }
    let csv = shop.get(Role::Viewer, "/queues?format=csv").await.body;
    let (heads, row) = csv.split_once("\r\n").expect("a row");
    let apart = "\"Consumers\",\"Desired workers\",\"Completed/min\",\"Failed/min\"";
    assert!(heads.ends_with(&format!("\"Ready, last hour\",{apart}")), "{csv}");
    assert!(row.trim_end().ends_with(",\"1\",\"0\",\"3\",\"0.0\",\"1.0\""), "{csv}");
    let queue = shop.get(Role::Viewer, "/queues/email").await.body;
    assert!(queue.contains("3, 0 running"), "{queue}");
    stop.cancel();
    kept.await.expect("ends");
}
