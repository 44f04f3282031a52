//! Waiting rooms over HTTP: joining, being admitted, and attempts to skip the line. The clock is the test's.

use std::time::Duration;

use api::ServerLimits;
use base::{Ambient, ambient::ManualClock, testing::until};
use reqwest::Method;
use serde_json::Value;
use store::{
    admission::{Admission, RoomOrder, SaleMode, SaleSwitch},
    domain::MerchantId,
};

use crate::util::{Answer, Call, TestApi, config, order_body};

const PLACE: &str = "orderworks-place";
/// Time to order of an admitted shopper.
const ACTIVE: Duration = Duration::from_mins(2);

async fn shop() -> (TestApi, ManualClock) {
    let (ambient, clock) = Ambient::steered(12, Ambient::system().now());
    let shop = TestApi::open_at(config(), ServerLimits::default(), ambient).await;
    shop.stock("mug", 1_000_000).await;
    (shop, clock)
}

/// Switches the sale mode of a merchant, and waits until the process minds it.
pub(crate) async fn set_mode(shop: &TestApi, merchant: MerchantId, key: &str, mode: &SaleMode) {
    let set = shop.orders.set_sale_mode(merchant, mode.clone(), shop.ambient.secret(), shop.ambient.now());
    assert!(set.await.expect("sets"));
    let is_open = mode.switch == SaleSwitch::Off;
    let place = visit(shop, key, None).await["place"].as_str().map(str::to_owned);
    until("the room is minded", || async {
        (visit(shop, key, place.as_deref()).await["status"] == "open") == is_open
    })
    .await;
}

pub(crate) fn mode(switch: SaleSwitch) -> SaleMode {
    SaleMode {
        switch,
        order: RoomOrder::Fifo,
        active_max: 1_000,
        per_minute_max: 60,
        active_seconds: 120,
        begins_at: None,
        opens_at: None,
        ends_at: None,
    }
}

fn room(shop: &TestApi, key: &str, place: Option<&str>) -> Call {
    let call = shop.call(Method::GET, "/v1/waiting_room").key(key);
    if let Some(place) = place { call.header(PLACE, place) } else { call }
}

async fn visit(shop: &TestApi, key: &str, place: Option<&str>) -> Value {
    room(shop, key, place).send().await.expect_status(200).json
}

fn place_of(visit: &Value) -> String {
    visit["place"].as_str().unwrap_or_else(|| panic!("no place: {visit}")).to_owned()
}

/// Lets time pass until a place is admitted.
async fn admitted(shop: &TestApi, clock: &ManualClock, key: &str, place: &str) -> Value {
    until("the place is admitted", || async {
        clock.advance(Duration::from_millis(500));
        visit(shop, key, Some(place)).await["status"] == "admitted"
    })
    .await;
    visit(shop, key, Some(place)).await
}

async fn order(shop: &TestApi, key: &str, place: &str) -> Answer {
    shop.place(key, &order_body()).header(PLACE, place).send().await
}

#[tokio::test]
async fn shoppers_order_in_turn_and_none_skips_the_line() {
    let (shop, clock) = shop().await;
    let (public, other) = (shop.own.public.clone(), shop.other.public.clone());
    assert_eq!(visit(&shop, &public, None).await["status"], "open", "no sale");
    let before = shop.order("before-the-sale").await;
    set_mode(&shop, shop.own.id, &public, &mode(SaleSwitch::On)).await;
    set_mode(&shop, shop.other.id, &other, &mode(SaleSwitch::On)).await;

    // Without a place, and with one that waits.
    let refused = shop.place("k", &order_body()).send().await.expect_problem(429, "waiting_room");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 0));
    let mut late = visit(&shop, &public, None).await;
    for _ in 0..20 {
        late = visit(&shop, &public, None).await;
    }
    assert_eq!(late["status"], "waiting", "{late}");
    assert!(late["ahead"].as_u64().is_some_and(|ahead| ahead >= 10), "{late}");
    assert!(late["estimated_admission_at"].is_string() && late["ask_again_seconds"].is_u64(), "{late}");
    let late = place_of(&late);
    order(&shop, "k", &late).await.expect_problem(429, "waiting_room");
    assert_eq!(place_of(&visit(&shop, &public, Some(&late)).await), late, "the place stays");

    // Forged, of another merchant, and carried twice.
    let mut forged = late.clone().into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("text");
    let neighbours = place_of(&visit(&shop, &other, None).await);
    for place in [forged.as_str(), &neighbours, "owq_", "owq_AAAA", "x"] {
        order(&shop, "k", place).await.expect_problem(429, "waiting_room");
        let taken = place_of(&visit(&shop, &public, Some(place)).await);
        assert_ne!(taken, place, "another place is taken, at the end");
    }

    // Admitted; then the time to order is over.
    let told = admitted(&shop, &clock, &public, &late).await;
    assert!(told["admitted_until"].is_string() && told["ahead"].is_null(), "{told}");
    order(&shop, "k", &late).await.expect_status(202);
    order(&shop, "other-order", &neighbours).await.expect_problem(429, "waiting_room");
    let twice = shop.place("l", &order_body()).header(PLACE, &late).header(PLACE, &late);
    twice.send().await.expect_problem(429, "waiting_room");
    clock.advance(ACTIVE + Duration::from_secs(10));
    order(&shop, "too-late", &late).await.expect_problem(429, "waiting_room");
    assert_ne!(place_of(&visit(&shop, &public, Some(&late)).await), late, "at the end of the line again");

    // What was accepted is answered again; the merchant's own orders do not wait.
    assert_eq!(shop.place("before-the-sale", &order_body()).send().await.expect_status(202).json, before);
    assert_eq!(order(&shop, "k", &late).await.header("idempotent-replayed"), "true");
    shop.place("till", &order_body()).key(&shop.own.secret).send().await.expect_status(202);

    // The next sale begins without the places of this one.
    set_mode(&shop, shop.own.id, &public, &mode(SaleSwitch::Off)).await;
    shop.place("after-the-sale", &order_body()).send().await.expect_status(202);
    set_mode(&shop, shop.own.id, &public, &mode(SaleSwitch::On)).await;
    order(&shop, "next-sale", &late).await.expect_problem(429, "waiting_room");
}

#[tokio::test]
async fn a_place_serves_few_orders() {
    let (shop, clock) = shop().await;
    let public = shop.own.public.clone();
    set_mode(&shop, shop.own.id, &public, &mode(SaleSwitch::On)).await;
    let place = place_of(&visit(&shop, &public, None).await);
    admitted(&shop, &clock, &public, &place).await;
    for n in 0..5 {
        order(&shop, &format!("shared-{n}"), &place).await.expect_status(202);
    }
    let refused = order(&shop, "shared-5", &place).await.expect_problem(429, "rate_limited");
    assert_eq!(refused.json["violated-policies"][0], "place-orders");
    assert_eq!(order(&shop, "shared-0", &place).await.header("idempotent-replayed"), "true");
}

#[tokio::test]
async fn places_outlast_the_process_and_count_at_every_other() {
    let (shop, _) = shop().await;
    let public = shop.own.public.clone();
    set_mode(&shop, shop.own.id, &public, &mode(SaleSwitch::On)).await;
    let first = visit(&shop, &public, None).await;
    // A second process over the same store, as after a restart.
    let room = shop.orders.waiting_room(shop.own.id).await.expect("reads").expect("a room");
    let taken = shop.orders.take_places(shop.own.id, 1).await.expect("takes").expect("a room");
    assert!(taken >= room.taken, "numbers go on");
    let again = visit(&shop, &public, Some(&place_of(&first))).await;
    assert_eq!((&again["place"], &again["status"]), (&first["place"], &first["status"]));
}

#[tokio::test]
async fn the_page_shows_the_position_and_needs_no_script() {
    let (shop, _) = shop().await;
    let path = format!("/waiting_room/{}", shop.own.id);
    let open = shop.call(Method::GET, &path).send().await.expect_status(200);
    assert!(open.text.contains("You can order now") && open.header("set-cookie").is_empty(), "{}", open.text);
    set_mode(&shop, shop.own.id, &shop.own.public, &mode(SaleSwitch::On)).await;
    for _ in 0..3 {
        shop.call(Method::GET, &path).send().await.expect_status(200);
    }
    let page = shop.call(Method::GET, &path).send().await.expect_status(200);
    for part in ["You are in line", "Shoppers before you:", "href=\"?still=1\"", "lang=\"en\""] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    assert!(!page.text.contains("<script"), "{}", page.text);
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with("orderworks_place=owq_") && cookie.contains("HttpOnly"), "{cookie}");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let refresh: u64 = page.header("refresh").parse().expect("seconds");
    assert!((2..=30).contains(&refresh));
    let still = shop.call(Method::GET, &format!("{path}?still=1")).header("cookie", &cookie).send().await;
    let still = still.expect_status(200);
    assert!(still.header("refresh").is_empty() && still.text.contains("href=\"?\""), "{}", still.text);
    let again = shop.call(Method::GET, &path).header("cookie", &cookie).send().await.expect_status(200);
    assert!(again.text.contains("You are in line") && again.header("set-cookie").is_empty());
    // The same place by the API, from the same browser.
    let call = shop.call(Method::GET, "/v1/waiting_room").key(&shop.own.public).header("cookie", &cookie);
    let told = call.send().await.expect_status(200);
    assert_eq!(format!("orderworks_place={}", place_of(&told.json)), cookie);
    let styles = shop.call(Method::GET, "/waiting_room/waiting_room.css").send().await.expect_status(200);
    assert!(styles.header("content-type").starts_with("text/css"));
    shop.call(Method::GET, "/waiting_room/x").send().await.expect_problem(404, "not_found");
}
