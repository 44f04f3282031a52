//! Access: roles and actions, forms of other sites, sessions and links.

use std::{collections::BTreeSet, time::Duration};

use console::{
    ConsoleConfig,
    access::Role::{self, Admin, Operator},
};
use http::{Method, StatusCode};

use crate::{
    given_up::GivenUp,
    util::{Deployment, QUEUE, SCHEDULE, Visit, secret_of},
};

/// Pages that every role sees.
const PAGES: [&str; 9] =
    ["/", "/queues", "/jobs", "/dead", "/workers", "/schedules", "/limits", "/operations", "/audit"];

/// Each change that can be asked for: the role that it needs, items, verb, and which item where one is chosen.
const ACTIONS: [(Role, &str, &str, &str); 16] = [
    (Operator, "job", "retry", "dead"),
    (Operator, "job", "redrive", "dead"),
    (Operator, "job", "cancel", "delayed"),
    (Admin, "job", "delete", "dead"),
    (Operator, "jobs", "retry", ""),
    (Operator, "jobs", "redrive", ""),
    (Operator, "jobs", "cancel", ""),
    (Admin, "jobs", "delete", ""),
    (Operator, "queues", "pause", QUEUE),
    (Operator, "queues", "resume", QUEUE),
    (Admin, "queues", "purge", QUEUE),
    (Operator, "schedules", "run", SCHEDULE),
    (Operator, "schedules", "pause", SCHEDULE),
    (Operator, "schedules", "resume", SCHEDULE),
    (Operator, "webhooks", "retry", ""),
    (Operator, "mails", "retry", ""),
];

/// Where the console lists the verbs that forms may name.
const FORMS: &str = include_str!("../../src/routes/operation_form.rs");

impl GivenUp {
    /// The form of an action. Queue and schedule are paused before it if it is to end that, and only then.
    async fn form(&self, items: &str, verb: &str, item: &str) -> [(&'static str, String); 4] {
        let (parts, is_paused) = (&self.shop.parts, verb == "resume");
        parts.engine.set_paused(QUEUE, is_paused).await.expect("sets");
        if is_paused {
            parts.store.pause_schedule(SCHEDULE).await.expect("pauses");
        } else {
            let next = parts.ambient.now() + Duration::from_hours(1);
            parts.store.resume_schedule(SCHEDULE, Some(next)).await.expect("resumes");
        }
        let id = match item {
            "dead" => self.shop.dead.to_string(),
            "delayed" => self.shop.delayed.to_string(),
            other => other.to_owned(),
        };
        [("items", items.to_owned()), ("verb", verb.to_owned()), ("id", id), ("why", "a test".to_owned())]
    }

    /// The status of a request for an action, and the path of its operation.
    async fn asked(&self, role: Role, (items, verb, item): (&str, &str, &str)) -> (StatusCode, String) {
        let form = self.form(items, verb, item).await;
        let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
        let reply = self.post(role, "/operations", &form).await;
        (reply.status, reply.location())
    }

    async fn status(&self, role: Role, path: &str) -> StatusCode {
        self.post(role, path, &[]).await.status
    }
}

#[tokio::test]
async fn each_role_sees_pages_and_previews_what_it_may() {
    let all = GivenUp::open().await;
    for role in Role::ALL {
        for page in PAGES {
            assert_eq!(all.get(role, page).await.status, StatusCode::OK, "{role:?} {page}");
        }
        for (needed, items, verb, item) in ACTIONS {
            let (status, _) = all.asked(role, (items, verb, item)).await;
            let expected = if role >= needed { StatusCode::SEE_OTHER } else { StatusCode::FORBIDDEN };
            assert_eq!(status, expected, "{role:?} {verb} {items}");
        }
    }
}

/// A new kind of items, or a new verb of forms, needs a row in [`ACTIONS`].
#[tokio::test]
async fn every_change_that_the_console_takes_is_tried_by_every_role() {
    let all = GivenUp::open().await;
    let list = FORMS.split_once("const VERBS: ").and_then(|(_, rest)| rest.split_once("];"));
    let list = list.expect("the list of verbs").0;
    let name = |rest: &str| rest.split(',').next().map(str::to_lowercase);
    let verbs: Vec<String> = list.split("Verb::").skip(1).filter_map(name).collect();
    assert!(verbs.len() > 1, "{list}");
    let mut taken = BTreeSet::new();
    for items in all.items() {
        for verb in &verbs {
            for item in ["", "dead", "delayed", QUEUE, SCHEDULE] {
                let (status, _) = all.asked(Admin, (items, verb, item)).await;
                if status == StatusCode::SEE_OTHER {
                    taken.insert((items, verb.as_str()));
                }
            }
        }
    }
    let tried: BTreeSet<_> = ACTIONS.iter().map(|(_, items, verb, _)| (*items, *verb)).collect();
    assert_eq!(taken, tried);
}

#[tokio::test]
async fn a_preview_is_confirmed_and_discarded_by_those_who_may_do_it() {
    for (needed, items, verb, item) in ACTIONS {
        let (all, what) = (GivenUp::open().await, format!("{verb} {items}"));
        let (status, operation) = all.asked(needed, (items, verb, item)).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{what}");
        let (_, other) = all.asked(needed, (items, verb, item)).await;
        for role in Role::ALL.into_iter().filter(|role| *role < needed) {
            let status = all.status(role, &format!("{operation}/confirm")).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{role:?} confirms {what}");
        }
        let discarded = all.status(Role::Viewer, &format!("{other}/cancel")).await;
        assert_eq!(discarded, StatusCode::FORBIDDEN, "{what}");
        for preview in [&operation, &other] {
            let page = all.get(Role::Viewer, preview).await.body;
            assert!(page.contains("Nothing is changed yet"), "{what}: {page}");
        }
        let confirmed = all.status(needed, &format!("{operation}/confirm")).await;
        assert_eq!(confirmed, StatusCode::SEE_OTHER, "{what}");
        let page = all.get(Role::Viewer, &operation).await.body;
        let is_done = page.contains(" done, 0 skipped, 0 failed") && !page.contains("0 done");
        assert!(is_done && !page.contains("Nothing is changed yet"), "{what}: {page}");
        // What deletes for good may be left undone by those who may not do it.
        let discarded = all.status(Operator, &format!("{other}/cancel")).await;
        assert_eq!(discarded, StatusCode::SEE_OTHER, "{what}");
    }
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
async fn a_planted_session_ends_when_its_browser_signs_in() {
    let shop = Deployment::open().await;
    let sign_in = async |role: Role, cookie: &str| {
        let visit = Visit::signed_out().with("sec-fetch-site", "same-origin").with("cookie", cookie);
        let secret = secret_of(role);
        let entered = shop.send(visit.request(Method::POST, "/sign-in", &[("token", secret.as_str())])).await;
        entered.header("set-cookie").split(';').next().expect("a pair").to_owned()
    };
    let overview = async |cookie: &str| {
        shop.send(Visit::signed_out().with("cookie", cookie).request(Method::GET, "/", &[])).await
    };
    let planted = sign_in(Role::Viewer, "").await;
    assert_eq!(overview(&planted).await.status, StatusCode::OK);
    let own = sign_in(Role::Admin, &planted).await;
    assert_ne!(own, planted);
    let page = overview(&own).await;
    assert!(page.status == StatusCode::OK && page.body.contains("admin (admin)"), "{}", page.body);
    assert_eq!(overview(&planted).await.status, StatusCode::SEE_OTHER);

    let link = Visit::signed_out().with("cookie", &own).request(Method::GET, &shop.sign_in_path(), &[]);
    assert!(shop.send(link).await.header("set-cookie").contains("HttpOnly"));
    assert_eq!(overview(&own).await.status, StatusCode::SEE_OTHER, "the link of dev is a sign-in, too");
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
