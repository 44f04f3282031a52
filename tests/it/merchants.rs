//! Merchants and keys that the command line makes: the API takes their keys, keeps them apart, and refuses a revoked
//! one in every process.

use std::time::Duration;

use base::testing::scratch::Scratch;
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::util::{Client, Dev, TestServers, alone, order, run, run_json};

/// Promised for a revoked key.
const REVOKED_WITHIN: Duration = Duration::from_secs(10);

fn text<'a>(answer: &'a Value, pointer: &str) -> &'a str {
    answer.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {answer}"))
}

/// Registers a product with stock, as a merchant's first request.
pub(crate) async fn stocked(merchant: &Client, sku: &str) {
    let product = json!({ "name": sku, "category": "things", "price_minor": 1250, "currency": "EUR" });
    let (status, body) = merchant.send(Method::PUT, &format!("/v1/products/{sku}"), Some(&product)).await;
    assert!(status.is_success(), "{body}");
    let inventory = Some(json!({ "on_hand": 100 }));
    let (status, body) =
        merchant.send(Method::PUT, &format!("/v1/inventory/{sku}"), inventory.as_ref()).await;
    assert!(status.is_success(), "{body}");
}

/// Waits until a key is refused; returns how long that took.
async fn refused(client: &Client) -> Duration {
    let began = Instant::now();
    loop {
        match client.send(Method::GET, "/v1/products", None).await {
            (StatusCode::UNAUTHORIZED, _) => return began.elapsed(),
            (status, body) => assert_eq!(status, StatusCode::OK, "{body}"),
        }
        assert!(began.elapsed() < REVOKED_WITHIN, "the key is still taken");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn reservations_of_carts_are_switched_by_the_command() {
    let data = tempfile::tempdir().expect("a folder");
    let _dev = Dev::start(data.path()).await;
    let made = run_json(data.path(), &["merchant", "create", "--name", "Tea & Co"]).await;
    let id = text(&made, "/merchant/id").to_owned();
    let checkout = ["merchant", "checkout", &id];
    assert_eq!(run_json(data.path(), &checkout).await["reserve_minutes"], Value::Null, "off at first");
    for (reserve, minutes) in [("15", json!(15)), ("off", Value::Null)] {
        let set = run_json(data.path(), &["merchant", "checkout", &id, "--reserve", reserve]).await;
        assert_eq!((&set["merchant"], &set["reserve_minutes"]), (&json!(id), &minutes));
        assert_eq!(run_json(data.path(), &checkout).await["reserve_minutes"], minutes, "it is kept");
    }
    let (ok, _, error) = run(data.path(), &["merchant", "checkout", &id, "--reserve", "61"]).await;
    assert!(!ok && error.contains("from 1 to 60"), "{error}");
    let unknown = "mer_019aa3c2-7f5e-7cc1-b3a4-1d7a9b1c2d3e";
    let (ok, _, error) = run(data.path(), &["merchant", "checkout", unknown]).await;
    assert!(!ok && error.contains("there is no merchant"), "{error}");
}

#[tokio::test]
async fn hooks_are_set_changed_and_removed_by_the_command() {
    let data = tempfile::tempdir().expect("a folder");
    let _dev = Dev::start(data.path()).await;
    let made = run_json(data.path(), &["merchant", "create", "--name", "Tea & Co"]).await;
    let id = text(&made, "/merchant/id").to_owned();
    let url = "https://shop.example/tax";
    let set = run_json(data.path(), &["merchant", "hook", &id, "tax", "--url", url]).await;
    assert!(text(&set, "/secret").starts_with("whsec_"), "{set}");
    let refuse = ["merchant", "hook", &id, "tax", "--url", url, "--otherwise", "refuse"];
    assert_eq!(run_json(data.path(), &refuse).await["secret"], Value::Null, "it stays and is not shown");
    let shown = run_json(data.path(), &["merchant", "checkout", &id]).await;
    let expected = json!([{ "kind": "tax", "url": url, "otherwise": "refuse" }]);
    assert_eq!(shown["hooks"], expected);
    for wrong in ["http://shop.example/tax", "https://127.0.0.1/tax", "nonsense"] {
        let (ok, _, error) = run(data.path(), &["merchant", "hook", &id, "tax", "--url", wrong]).await;
        assert!(!ok && error.contains("cannot be a hook"), "{error}");
    }
    assert!(!run(data.path(), &["merchant", "hook", &id, "tax"]).await.0, "neither set nor removed");
    run_json(data.path(), &["merchant", "hook", &id, "tax", "--off"]).await;
    assert_eq!(run_json(data.path(), &["merchant", "checkout", &id]).await["hooks"], json!([]));
}

#[tokio::test]
async fn a_merchant_made_by_the_command_sells_beside_a_running_server() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let made = run_json(data.path(), &["merchant", "create", "--name", "Tea & Co"]).await;
    let id = text(&made, "/merchant/id").to_owned();
    assert_eq!(text(&made, "/merchant/name"), "Tea & Co");
    let (secret, public) = (text(&made, "/secret_key"), text(&made, "/publishable_key"));
    let (merchant, storefront) = (Client::new(&dev.ready.url, secret), Client::new(&dev.ready.url, public));
    stocked(&merchant, "TEA").await;
    let order = storefront.place("first", &order("TEA", 1, "pm_card_visa")).await.expect("answers");
    assert_eq!(order.0, StatusCode::ACCEPTED, "{}", order.1);
    assert_eq!(merchant.ended(text(&order.1, "/id")).await["status"], "fulfilled");
    // The demo shop sees nothing of it.
    let path = format!("/v1/orders/{}", text(&order.1, "/id"));
    let (status, _) = dev.merchant().send(Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let listed = run_json(data.path(), &["merchant", "list"]).await;
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|m| text(m, "/name")).collect();
    assert_eq!(names.len(), 2, "the demo shop and this one: {names:?}");
    let made = run_json(data.path(), &["key", "create", &id, "--kind", "sec", "--label", "till 2"]).await;
    let till = Client::new(&dev.ready.url, text(&made, "/key"));
    till.get_list("/v1/orders").await;
    let (ok, keys, err) = run(data.path(), &["key", "list", &id]).await;
    assert!(ok && keys.contains("till 2") && !keys.contains(text(&made, "/key")), "{keys} {err}");
    assert!(keys.contains(&text(&made, "/key")[..12]), "by the first characters: {keys}");
    let (ok, said, err) = run(data.path(), &["key", "revoke", text(&made, "/id")]).await;
    assert!(ok && said.contains("revoked"), "{err}");
    refused(&till).await;
    merchant.get_list("/v1/orders").await;
    let shown = run_json(data.path(), &["merchant", "show", &id]).await;
    let revoked = |key: &&Value| !key["revoked_at"].is_null();
    assert_eq!(shown["keys"].as_array().expect("a list").iter().filter(revoked).count(), 1, "{shown}");

    for (args, why) in [
        (&["key", "revoke", "key_01900000-0000-7000-8000-000000000000"][..], "there is no key"),
        (&["key", "list", "mer_01900000-0000-7000-8000-000000000000"], "there is no merchant"),
        (&["merchant", "create", "--name", " "], "1 to 100 characters"),
    ] {
        let (ok, _, err) = run(data.path(), args).await;
        assert!(!ok && err.contains(why), "{args:?}: {err}");
    }
    dev.stop().await;
}

#[tokio::test]
async fn a_new_key_of_the_demo_shop_replaces_the_old_one() {
    let data = tempfile::tempdir().expect("a folder");
    let keys = ["owk_sec_0123456789abcdef0123456789abcdef", "owk_sec_fedcba9876543210fedcba9876543210"];
    let mut old: Option<Client> = None;
    for key in keys {
        let dev = Dev::start_with(data.path(), &[("ORDERWORKS_SEC_KEY", key)]).await;
        dev.merchant().get_list("/v1/orders").await;
        if let Some(old) = old.take() {
            let (status, _) = old.at(&dev.ready.url).send(Method::GET, "/v1/orders", None).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
        old = Some(dev.merchant());
        dev.stop().await;
    }
    let log = std::fs::read_to_string(data.path().join("log")).expect("a log");
    assert!(log.contains("key of the demo shop replaced") && !log.contains(keys[0]), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_limited_by_themselves_and_revoked_in_every_process_over_two_shards() {
    let _alone = alone().await;
    let Some(mut stage) = TestServers::open().await else { return };
    stage.set("READS_PER_KEY_PER_SECOND", "5");
    let second = Scratch::create().await;
    let (a, b) = (stage.database.url(), second.url());
    let urls = format!("{{ a = {:?}, b = {:?} }}", a.expose_secret(), b.expose_secret());
    let settings = [("ORDERWORKS_SHARDS_URLS", urls.as_str())];
    stage.command(&settings, &["migrate"]).await;
    let ((first, base), (other, second_base)) = (stage.api(&settings).await, stage.api(&settings).await);
    let mut made = Vec::new();
    for name in ["North", "South", "East", "West"] {
        let said = stage.command(&settings, &["--json", "merchant", "create", "--name", name]).await;
        made.push(serde_json::from_str::<Value>(&said).expect("is JSON"));
    }
    let said = stage.command(&settings, &["--json", "merchant", "list"]).await;
    let listed: Value = serde_json::from_str(&said).expect("is JSON");
    let mut names: Vec<_> = listed.as_array().expect("a list").iter().map(|m| text(m, "/name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["East", "North", "South", "West"], "of both shards");

    // Each merchant has its products only, whichever process answers.
    for (number, merchant) in made.iter().enumerate() {
        let client = Client::new(&base, text(merchant, "/secret_key"));
        stocked(&client, &format!("SKU-{number}")).await;
        let products = client.at(&second_base).get_list("/v1/products").await;
        assert_eq!(products.len(), 1, "{products:?}");
    }
    // A key that is over its limit takes nothing from another.
    let (busy, calm) = (
        Client::new(&base, text(&made[0], "/secret_key")),
        Client::new(&base, text(&made[1], "/secret_key")),
    );
    let mut limited = 0;
    for _ in 0..30 {
        limited +=
            u32::from(busy.send(Method::GET, "/v1/orders", None).await.0 == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(limited > 0);
    assert_eq!(calm.send(Method::GET, "/v1/orders", None).await.0, StatusCode::OK);

    let merchant = text(&made[2], "/merchant/id");
    let said = stage.command(&settings, &["--json", "key", "list", merchant]).await;
    let keys: Value = serde_json::from_str(&said).expect("is JSON");
    let public = keys.as_array().expect("a list").iter().find(|key| key["kind"] == "pub").expect("a key");
    let both = [&base, &second_base].map(|base| Client::new(base, text(&made[2], "/publishable_key")));
    for client in &both {
        client.get_list("/v1/products").await;
    }
    stage.command(&settings, &["key", "revoke", text(public, "/id")]).await;
    let [here, there] = &both;
    tokio::join!(refused(here), refused(there));
    Client::new(&base, text(&made[2], "/secret_key")).get_list("/v1/products").await;
    for role in [first, other] {
        role.stop().await;
    }
    stage.close().await;
}
