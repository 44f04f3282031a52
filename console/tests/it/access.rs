//! Access: roles and actions, forms of other sites, sessions and links.

use console::{ConsoleConfig, access::Role};
use http::{Method, StatusCode};

use crate::util::{Deployment, QUEUE, SCHEDULE, Visit, secret_of};

/// Pages that every role sees.
const PAGES: [&str; 9] =
    ["/", "/queues", "/jobs", "/dead", "/workers", "/schedules", "/limits", "/operations", "/audit"];

#[tokio::test]
async fn each_role_sees_pages_and_previews_what_it_may() {
    use Role::{Admin, Operator, Viewer};
    let shop = Deployment::open().await;
    let (dead, delayed) = (shop.dead.to_string(), shop.delayed.to_string());
    let actions = [
        (Operator, "jobs", "redrive", ""),
        (Operator, "jobs", "retry", ""),
        (Operator, "job", "cancel", delayed.as_str()),
        (Operator, "job", "redrive", dead.as_str()),
        (Operator, "queues", "pause", QUEUE),
        (Operator, "schedules", "run", SCHEDULE),
        (Operator, "schedules", "pause", SCHEDULE),
        (Admin, "jobs", "delete", ""),
        (Admin, "job", "delete", dead.as_str()),
        (Admin, "queues", "purge", QUEUE),
    ];
    for role in [Viewer, Operator, Admin] {
        for page in PAGES {
            assert_eq!(shop.get(role, page).await.status, StatusCode::OK, "{role:?} {page}");
        }
        for (needed, items, verb, id) in actions {
            let form = [("items", items), ("verb", verb), ("id", id), ("why", "a test")];
            let reply = shop.post(role, "/operations", &form).await;
            let expected = if role >= needed { StatusCode::SEE_OTHER } else { StatusCode::FORBIDDEN };
            assert_eq!(reply.status, expected, "{role:?} {verb} {items}: {}", reply.body);
        }
    }
}

#[tokio::test]
async fn a_preview_is_confirmed_and_discarded_by_those_who_may_do_it() {
    let shop = Deployment::open().await;
    let pause = [("items", "queues"), ("verb", "pause"), ("id", QUEUE), ("why", "a test")];
    let purge = [("items", "queues"), ("verb", "purge"), ("id", QUEUE), ("why", "a test")];
    let (pause, purge) =
        (shop.previewed(Role::Operator, &pause).await, shop.previewed(Role::Admin, &purge).await);
    let confirm =
        async |role, operation: &str| shop.post(role, &format!("{operation}/confirm"), &[]).await.status;
    assert_eq!(confirm(Role::Viewer, &pause).await, StatusCode::FORBIDDEN);
    assert_eq!(confirm(Role::Operator, &purge).await, StatusCode::FORBIDDEN);
    let discard = shop.post(Role::Viewer, &format!("{pause}/cancel"), &[]).await;
    assert_eq!(discard.status, StatusCode::FORBIDDEN);
    assert_eq!(shop.parts.engine.depth(QUEUE).await.expect("depth").ready, 1, "nothing has changed");
    assert_eq!(confirm(Role::Operator, &pause).await, StatusCode::SEE_OTHER);
    assert_eq!(confirm(Role::Admin, &purge).await, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn without_a_token_there_is_the_sign_in_page_only() {
    let shop = Deployment::open().await;
    for page in PAGES {
        let reply = shop.send(Visit::signed_out().request(Method::GET, page, &[])).await;
        assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/sign-in"), "{page}");
    }
    let wrong = Visit::signed_out().with("authorization", "Bearer 0123456789abcdef0123456789abcdef");
    let reply = shop.send(wrong.request(Method::GET, "/api/v1/jobs", &[])).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.header("www-authenticate"), "Bearer");
    let form = [("items", "queues"), ("verb", "pause"), ("id", QUEUE), ("why", "a test")];
    let post = Visit::signed_out().with("sec-fetch-site", "same-origin");
    let reply = shop.send(post.request(Method::POST, "/operations", &form)).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_form_of_another_site_changes_nothing() {
    let shop = Deployment::open().await;
    let form = [("items", "queues"), ("verb", "pause"), ("id", QUEUE), ("why", "a test")];
    let send = async |visit: Visit| shop.send(visit.request(Method::POST, "/operations", &form)).await.status;
    for site in ["cross-site", "same-site", "none"] {
        let status = send(Visit::of(Role::Admin).with("sec-fetch-site", site)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{site}");
    }
    let other = Visit::of(Role::Admin).with("origin", "https://evil.example").with("host", "127.0.0.1:8081");
    assert_eq!(send(other).await, StatusCode::FORBIDDEN);
    assert!(shop.parts.store.operations(None).await.expect("lists").is_empty());
    assert_eq!(
        send(Visit::of(Role::Admin).with("sec-fetch-site", "same-origin")).await,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn a_browser_signs_in_with_a_token_and_out_again() {
    let shop = Deployment::open().await;
    let own = || Visit::signed_out().with("sec-fetch-site", "same-origin");
    let sign_in =
        async |token: &str| shop.send(own().request(Method::POST, "/sign-in", &[("token", token)])).await;
    let refused = sign_in("0123456789abcdef0123456789abcdef").await;
    assert!(refused.header("set-cookie").is_empty() && refused.body.contains("no such token"), "{refused:?}");
    let entered = sign_in(&secret_of(Role::Viewer)).await;
    let cookie = entered.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().expect("a pair");
    let overview =
        async || shop.send(Visit::signed_out().with("cookie", pair).request(Method::GET, "/", &[])).await;
    let page = overview().await;
    assert!(page.status == StatusCode::OK && page.body.contains("viewer (viewer)"), "{}", page.body);
    let out = own().with("cookie", pair).request(Method::POST, "/sign-out", &[]);
    assert_eq!(shop.send(out).await.status, StatusCode::SEE_OTHER);
    assert_eq!(overview().await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn the_link_of_dev_signs_in_once() {
    let shop = Deployment::open().await;
    let path = shop.sign_in_path();
    let open = async || shop.send(Visit::signed_out().request(Method::GET, &path, &[])).await;
    let first = open().await;
    assert_eq!((first.status, first.header("location")), (StatusCode::SEE_OTHER, "/?live=on"));
    assert!(!first.header("set-cookie").is_empty());
    let second = open().await;
    assert!(second.header("set-cookie").is_empty() && second.body.contains("was used"), "{}", second.body);
}

#[tokio::test]
async fn behind_https_the_cookie_is_sent_by_https_and_to_this_host_only() {
    let shop = Deployment::open_as(ConsoleConfig { https: true, ..ConsoleConfig::default() }).await;
    let entered = shop.send(Visit::signed_out().request(Method::GET, &shop.sign_in_path(), &[])).await;
    let cookie = entered.header("set-cookie").to_owned();
    assert!(cookie.starts_with("__Host-orderworks_console=") && cookie.ends_with("; Secure"), "{cookie}");
    assert!(cookie.contains("; Path=/;") && !cookie.contains("Domain"), "{cookie}");
    let pair = cookie.split(';').next().expect("a pair");
    let page = shop.send(Visit::signed_out().with("cookie", pair).request(Method::GET, "/", &[])).await;
    assert_eq!(page.status, StatusCode::OK);
    let plain = pair.trim_start_matches("__Host-");
    let page = shop.send(Visit::signed_out().with("cookie", plain).request(Method::GET, "/", &[])).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
}
