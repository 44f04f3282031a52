//! Pages, CSV and JSON: what they show, what they do not, and that every link leads somewhere.

use std::collections::BTreeSet;

use console::access::Role;
use http::StatusCode;
use jobs::JobId;

use crate::util::{CUSTOMER, Deployment, HOSTILE_ERROR, PAYLOAD_CANARY, QUEUE};

/// Most pages visited from link to link.
const VISITS_MAX: usize = 500;

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
        let lower = reply.body.to_lowercase();
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
async fn a_live_page_reloads_itself_without_script() {
    let shop = Deployment::open().await;
    assert_eq!(shop.get(Role::Viewer, "/").await.header("refresh"), "");
    assert_eq!(shop.get(Role::Viewer, "/?live=on").await.header("refresh"), "5");
}
