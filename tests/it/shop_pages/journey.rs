//! A visit in a browser with script: an order followed live, and what visitors do besides: a declined card, a double
//! click, the back button, two tabs, a price that changes, a product that sells out, a connection that fails.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::Shopper;
use crate::util::{Browser, Dev, alone};

const SKU: &str = "CUP-ENAMEL";

/// Number of orders that the shop has.
async fn orders(dev: &Dev) -> usize {
    dev.merchant().all("/v1/orders").await.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_followed_live_until_it_is_fulfilled() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let shopper = Shopper::new(&browser, &dev);
    shopper.visit("/").await;
    browser.click(&format!("main a[href='/p/{SKU}']")).await;
    shopper.until_at("/p/").await;
    shopper.to_checkout(SKU).await;
    shopper.fill_in("pm_sandbox_slow").await;
    let order = shopper.order().await;
    browser.mark().await;
    browser.until_shown("Your order is on its way.").await;
    assert!(browser.mark().await, "the page was not loaded again");
    let focus = browser.text("return document.activeElement.tagName", json!([])).await;
    assert_eq!(focus, "BODY", "the focus stays where it was");
    let left =
        browser.text("return document.getElementById('status').dataset.live || 'none'", json!([])).await;
    assert_eq!(left, "none", "a finished order is not followed");
    let own = dev.ready.url.trim_start_matches("http://").to_owned();
    assert_eq!(browser.hosts().await, BTreeSet::from([own]), "no page has asked another host");
    assert_eq!(dev.merchant().ended(order.trim_start_matches("/o/")).await["status"], "fulfilled");
    browser.close().await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_card_is_replaced_by_another() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let shopper = Shopper::new(&browser, &dev);
    shopper.to_checkout(SKU).await;
    shopper.fill_in("pm_card_chargeDeclined").await;
    let declined = shopper.order().await;
    browser.until_shown("The payment was declined. Nothing was charged.").await;
    browser.click("#status form button").await;
    shopper.until_at("/checkout").await;
    shopper.fill_in("pm_card_visa").await;
    let paid = shopper.order().await;
    assert_ne!(paid, declined);
    browser.until_shown("Your order is on its way.").await;
    browser.close().await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_double_click_and_a_second_tab_place_one_order() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let shopper = Shopper::new(&browser, &dev);
    shopper.to_checkout(SKU).await;
    shopper.fill_in("pm_card_visa").await;
    let [first, _] = browser.open_tab().await;
    shopper.visit("/checkout").await;
    shopper.fill_in("pm_card_visa").await;
    let twice = "const button = document.querySelector(\"form[action='/checkout'] button\");
        button.click(); button.click();";
    browser.run(twice, json!([])).await;
    shopper.until_at("/o/").await;
    let order = shopper.path().await;
    browser.go_to_tab(&first).await;
    assert_eq!(shopper.order().await, order, "the other tab is led to the same order");
    assert_eq!(orders(&dev).await, 1);

    // The back button leads to a checkout with nothing left to pay.
    browser.run("history.back()", json!([])).await;
    shopper.until_at("/cart").await;
    browser.until_shown("Your cart is empty.").await;
    assert_eq!(orders(&dev).await, 1);
    browser.close().await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_that_changes_and_a_product_that_sells_out_are_told_before_paying() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let (shopper, merchant) = (Shopper::new(&browser, &dev), dev.merchant());
    shopper.to_checkout(SKU).await;
    shopper.fill_in("pm_card_visa").await;
    let dearer =
        json!({"name": "Enamel cup", "category": "kitchen", "price_minor": 1_400, "currency": "EUR"});
    let (status, _) = merchant.send(Method::PUT, &format!("/v1/products/{SKU}"), Some(&dearer)).await;
    assert_eq!(status, StatusCode::OK);
    shopper.pay().await;
    browser.until_shown("The price has changed: your order now comes to €14.00.").await;
    assert_eq!(orders(&dev).await, 0);
    let none = json!({"on_hand": 0});
    let (status, _) = merchant.send(Method::PUT, &format!("/v1/inventory/{SKU}"), Some(&none)).await;
    assert_eq!(status, StatusCode::OK);
    shopper.pay().await;
    browser.until_shown("A product has sold out meanwhile.").await;
    assert_eq!(orders(&dev).await, 0);
    let some = json!({"on_hand": 1});
    merchant.send(Method::PUT, &format!("/v1/inventory/{SKU}"), Some(&some)).await;
    shopper.order().await;
    let order = dev.merchant().all("/v1/orders").await.pop().expect("an order");
    assert_eq!(order["total_minor"], 1_400);
    browser.close().await;
    assert!(dev.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_fails_for_a_while_loses_nothing() {
    let _alone = alone().await;
    let Some(browser) = Browser::open().await else { return };
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let shopper = Shopper::new(&browser, &dev);
    let connect = async |is_connected: bool| {
        let state = json!({
            "offline": !is_connected, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1,
        });
        browser.devtools("Network.emulateNetworkConditions", state).await;
    };
    browser.devtools("Network.enable", json!({})).await;
    shopper.to_checkout(SKU).await;
    shopper.fill_in("pm_card_visa").await;
    connect(false).await;
    browser.until_shown("You are offline.").await;
    browser.mark().await;
    shopper.pay().await;
    assert!(browser.mark().await, "the form is still there");
    let typed = browser.text("return document.getElementById('city').value", json!([])).await;
    assert_eq!(typed, "London");
    connect(true).await;
    let gone = "return document.getElementById('notice').hidden";
    browser.until("online again", gone, json!([])).await;
    shopper.order().await;
    browser.until_shown("Your order is on its way.").await;
    assert_eq!(orders(&dev).await, 1);
    browser.close().await;
    assert!(dev.stop().await.success());
}
