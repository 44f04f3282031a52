//! Limits of the API, met by visitors of the storefront: by their own address, and told on pages.

use std::{num::NonZeroU32, time::Duration};

use api::{ApiConfig, CardTestingLimits, ReadLimits, ServerLimits};

use super::{Browser, filled_in, pages_of_shop};
use crate::{
    admission::{ORDER_AGE, relay, shop_with, until_answered},
    util::{TestApi, config, proof},
};

/// Bits of a proof in tests, where hashing is not optimised.
const BITS: u32 = 6;
const ONE: NonZeroU32 = NonZeroU32::MIN;

/// A shop behind a proxy on loopback, so that the test chooses addresses.
async fn behind_proxy(config: ApiConfig) -> TestApi {
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let config = ApiConfig { storefront: Some(pages_of_shop()), trusted_proxies, ..config };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    shop.stock("mug", 100).await;
    shop
}

#[tokio::test]
async fn unpaid_orders_of_one_address_need_a_proof_of_work_which_the_form_takes() {
    let limits = CardTestingLimits { unpaid_per_guest: ONE, proof_bits: BITS, ..config().card_testing };
    let shop = behind_proxy(ApiConfig { card_testing: limits, ..config() }).await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "1").await;
    let first = browser.checkout().await;
    assert!(browser.pay(&first).await.leads_to().starts_with("/o/"));

    browser.add("mug", "1").await;
    let second = browser.checkout().await;
    let asked = browser.pay(&second).await.expect_status(429);
    asked.expect_text("Too many orders were not paid.");
    asked.expect_text(&format!("data-proof-bits=\"{BITS}\""));
    let mut proven = filled_in(&asked, "pm_card_visa");
    proven.push(("proof".to_owned(), proof(BITS, &asked.hidden("key"))));
    assert!(browser.pay(&proven).await.leads_to().starts_with("/o/"));

    // Another address, on another device, is another visitor.
    let mut other = Browser { address: "203.0.113.2", ..Browser::new(&shop) };
    other.add("mug", "1").await;
    let form = other.checkout().await;
    assert!(other.pay(&form).await.leads_to().starts_with("/o/"));
}

#[tokio::test]
async fn a_visitor_over_a_limit_gets_a_page_and_others_are_served() {
    let reads = ReadLimits { searches_per_ip_per_second: ONE, ..config().reads };
    let shop = behind_proxy(ApiConfig { reads, ..config() }).await;
    let mut busy = Browser::new(&shop);
    let mut limited = false;
    // One a second is allowed: some of so many in a row are not.
    for _ in 0..20 {
        let page = busy.get("/search?q=mug").await;
        if page.status == 429 {
            page.expect_text("Too many people are here at once.");
            limited = true;
            break;
        }
        page.expect_status(200);
    }
    assert!(limited);
    let mut other = Browser { address: "203.0.113.2", ..Browser::new(&shop) };
    other.get("/search?q=mug").await.expect_status(200);
}

#[tokio::test]
async fn an_order_that_is_refused_while_orders_wait_is_told_so_and_can_be_placed_later() {
    let (shop, clock) = shop_with(ApiConfig { storefront: Some(pages_of_shop()), ..config() }).await;
    shop.order("not-relayed").await;
    clock.advance(ORDER_AGE + Duration::from_secs(1));
    until_answered(&shop, 503).await;
    let mut browser = Browser::new(&shop);
    browser.add("mug", "2").await;
    let form = browser.checkout().await;
    let mut last = None;
    for (language, nothing_ordered) in [
        ("en", "Nothing was ordered:"),
        ("de", "Es wurde nichts bestellt:"),
        ("ja", "ご注文は受け付けられていません。"),
    ] {
        browser.language = language;
        let told = browser.pay(&form).await.expect_status(503);
        let seconds = told.header("retry-after");
        let again = match language {
            "en" => format!("Please try again in {seconds} seconds."),
            "de" => format!("es in {seconds} Sekunden erneut."),
            _ => format!("{seconds}秒後にもう一度お試しください。"),
        };
        told.expect_text(nothing_ordered);
        told.expect_text(&again);
        told.expect_text("value=\"ada@example.com\"");
        assert_eq!(told.hidden("expected"), "500", "the total that was agreed to");
        assert_ne!(told.hidden("key"), form[0].1, "that attempt is done with");
        last = Some(told);
    }
    let orders = shop.get("/v1/orders?limit=100").send().await.expect_status(200);
    assert_eq!(orders.list().len(), 1, "the one that waits");
    relay(&shop).await;
    until_answered(&shop, 422).await;
    let told = last.expect("was told");
    assert!(browser.pay(&filled_in(&told, "pm_card_visa")).await.leads_to().starts_with("/o/"));
}
