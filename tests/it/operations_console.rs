//! The operations console in real use: the link that `dev` prints, and the role beside a running server.

use reqwest::{StatusCode, header, redirect::Policy};
use serde_json::Value;

use crate::util::{Dev, PATIENCE, Role, free_port, http, http_builder, orderworks, ready};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

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
    let (base, _) = link.split_once("/sign-in/").expect("a link");
    let page = async |path: String| {
        let request = browser.get(format!("{base}{path}")).header(header::COOKIE, pair.as_str());
        let answer = request.send().await.expect("answers");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.expect("text")
    };
    assert!(page("/".to_owned()).await.contains("payments"));

    let id = dev.storefront().accepted("one", "pm_card_visa").await;
    dev.merchant().ended(&id).await;
    let wanted = ["order accepted", "charge_payment: attempt 1 completed", "payment.captured", "captured"];
    // Attempts are recorded up to a second late.
    let start = std::time::Instant::now();
    loop {
        let shown = page(format!("/orders/{id}")).await;
        if wanted.iter().all(|part| shown.contains(part)) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "not all of {wanted:?} are in {shown}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(dev.stop().await.success());
}

#[tokio::test]
async fn a_console_runs_beside_a_server_and_needs_tokens() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let refused = orderworks(data.path()).arg("console").output().await.expect("runs");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("console.tokens"), "{said}");

    let [listen, health] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let tokens = format!("{{ ada = \"viewer:{TOKEN}\" }}");
    let settings = [("ORDERWORKS_CONSOLE_TOKENS", tokens.as_str())];
    let args = ["console", "--listen", listen.as_str(), "--health", health.as_str()];
    let console = Role::start(data.path(), &settings, &args);
    ready(&health, |report| report["status"] == "ok").await;
    let queues = http().get(format!("http://{listen}/api/v1/queues")).bearer_auth(TOKEN);
    let answer: Value = queues.send().await.expect("answers").json().await.expect("is JSON");
    let names: Vec<_> =
        answer["data"].as_array().expect("a list").iter().map(|queue| &queue["queue"]).collect();
    assert!(names.iter().any(|name| **name == "payments"), "{answer}");
    console.stop().await;
    assert!(dev.stop().await.success());
}
