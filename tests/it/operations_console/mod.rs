//! The operations console in real use: the link that `dev` prints, the role beside a running server, and both in a
//! browser.

mod accessibility;
mod journey;
mod questions;

use std::path::Path;

use reqwest::{StatusCode, header, redirect::Policy};
use serde_json::Value;

use crate::util::{
    Dev, PATIENCE, Role, TestMerchant, TestServers, alone, free_port, http, http_builder, orderworks, ready,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The address of the console of `dev`.
fn base(dev: &Dev) -> String {
    let (base, _) = dev.ready.console_url.split_once("/sign-in/").expect("a link");
    base.to_owned()
}

/// Waits until the page of an order shows its whole way: attempts are recorded up to a second late.
async fn shows_whole_order(page: impl AsyncFn() -> String) {
    let wanted =
        ["order accepted", "charge_payment: attempt 1 completed", "payment.captured", "order.fulfilled"];
    let start = std::time::Instant::now();
    loop {
        let shown = page().await;
        if wanted.iter().all(|part| shown.contains(part)) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not all of {wanted:?} are in {shown}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn dev_prints_a_link_to_the_console_which_shows_an_order_on_its_way() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let browser = http_builder().redirect(Policy::none()).build().expect("builds");
    let link = &dev.ready.console_url;
    let entered = browser.get(link).send().await.expect("answers");
    assert_eq!(entered.status(), StatusCode::SEE_OTHER);
    let cookie = entered.headers()[header::SET_COOKIE].to_str().expect("text").to_owned();
    let pair = cookie.split(';').next().expect("a pair").to_owned();
    let base = base(&dev);
    let page = async |path: String| {
        let request = browser.get(format!("{base}{path}")).header(header::COOKIE, pair.as_str());
        let answer = request.send().await.expect("answers");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.expect("text")
    };
    assert!(page("/".to_owned()).await.contains("payments"));

    let id = dev.storefront().accepted("one", "pm_card_visa").await;
    dev.merchant().ended(&id).await;
    shows_whole_order(async || page(format!("/orders/{id}")).await).await;
    assert!(dev.stop().await.success());
}

/// A console beside whatever works in the folder, whose [`TOKEN`] is a viewer's; returns it with its address.
async fn console_of_a_viewer(folder: &Path) -> (Role, String) {
    let [listen, health] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let tokens = format!("{{ ada = \"viewer:{TOKEN}\" }}");
    let settings = [("ORDERWORKS_CONSOLE_TOKENS", tokens.as_str())];
    let args = ["console", "--listen", listen.as_str(), "--health", health.as_str()];
    let console = Role::start(folder, &settings, &args);
    ready(&health, |report| report["status"] == "ok").await;
    (console, listen)
}

#[tokio::test]
async fn a_console_runs_beside_a_server_and_needs_tokens() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let refused = orderworks(data.path()).arg("console").output().await.expect("runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("console.tokens"), "{said}");

    let (console, listen) = console_of_a_viewer(data.path()).await;
    let queues = http().get(format!("http://{listen}/api/v1/queues")).bearer_auth(TOKEN);
    let answer: Value = queues.send().await.expect("answers").json().await.expect("is JSON");
    let names: Vec<_> =
        answer["data"].as_array().expect("a list").iter().map(|queue| &queue["queue"]).collect();
    assert!(names.iter().any(|name| **name == "payments"), "{answer}");
    console.stop().await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_over_servers_shows_every_page_and_pauses_a_queue() {
    let _alone = alone().await;
    let Some(stage) = TestServers::open().await else { return };
    let (api, base) = stage.api(&[]).await;
    let others = [&["worker"][..], &["relay"], &["scheduler"]].map(|role| stage.role(role));
    let [listen, health] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let tokens = format!("{{ ada = \"operator:{TOKEN}\" }}");
    let args = ["console", "--listen", listen.as_str(), "--health", health.as_str()];
    let console = stage.role_with(&[("ORDERWORKS_CONSOLE_TOKENS", tokens.as_str())], &args);
    ready(&health, |report| report["status"] == "ok").await;
    let shop = TestMerchant::open(&stage, &base, &["CUP"], 10).await;
    let order = shop.order("CUP", 1, "pm_card_visa");
    let (status, order) = shop.client.place("one", &order).await.expect("answers");
    assert!(status.is_success(), "{order}");
    let id = order["id"].as_str().expect("an id");
    shop.client.ended(id).await;

    let page = async |path: &str| {
        let answer = http().get(format!("http://{listen}{path}")).bearer_auth(TOKEN).send().await;
        let answer = answer.expect("answers");
        let (status, body) = (answer.status(), answer.text().await.expect("text"));
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    };
    let pages =
        ["/", "/queues", "/queues/payments", "/jobs", "/jobs?state=delayed&queue=payments&q=x", "/dead"];
    let others_too = ["/workers", "/schedules", "/limits", "/operations", "/audit"];
    for path in pages.into_iter().chain(others_too) {
        page(path).await;
    }
    let path = format!("/orders/{id}");
    shows_whole_order(async || page(&path).await).await;

    let post = async |path: &str, form: &'static str| {
        let request = http().post(format!("http://{listen}/api/v1/operations{path}")).bearer_auth(TOKEN);
        let form = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let answer: Value = form.send().await.expect("answers").json().await.expect("is JSON");
        answer
    };
    let previewed = post("", "items=queues&verb=pause&id=email&why=the+mail+server+moves").await;
    assert_eq!(previewed["state"], "previewed", "{previewed}");
    let id = previewed["id"].as_str().expect("an id");
    let done = post(&format!("/{id}/confirm"), "").await;
    assert_eq!((&done["state"], &done["counts"]["done"]), (&"done".into(), &1.into()), "{done}");
    assert!(page("/audit?who=ada").await.contains("the mail server moves"));
    // Figures are two seconds old at most.
    let start = std::time::Instant::now();
    while !page("/queues/email").await.contains("paused") {
        assert!(start.elapsed() < PATIENCE, "the queue is not paused");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    for role in others.into_iter().chain([api, console]) {
        role.stop().await;
    }
    stage.close().await;
}
