//! Admission by backlog over HTTP: estimates, refusals, and who goes first. Workers and relays are the test's own calls
//! of the store, and the clock is the test's.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use api::{AdmissionLimits, ApiConfig, ServerLimits};
use base::{Ambient, Timestamp, ambient::ManualClock, testing::until};
use reqwest::Method;
use serde_json::{Value, json};
use store::{
    admission::STUCK_MAX,
    domain::PaymentId,
    orders::{CaptureFacts, Orders},
    outbox::Outbox,
};

use crate::util::{Answer, TestApi, config, id_of, order_body};

pub(crate) const ORDER_AGE: Duration = Duration::from_mins(2);
const CART_AGE: Duration = Duration::from_mins(4);

async fn shop() -> (TestApi, ManualClock) {
    shop_with(config()).await
}

/// A shop that refuses orders while others wait for too long.
pub(crate) async fn shop_with(config: ApiConfig) -> (TestApi, ManualClock) {
    let (ambient, clock) = Ambient::steered(11, Ambient::system().now());
    let limits = AdmissionLimits {
        order_age_max: Some(ORDER_AGE),
        cart_age_max: Some(CART_AGE),
        ..AdmissionLimits::default()
    };
    let config = ApiConfig { admission: limits, ..config };
    let shop = TestApi::open_at(config, ServerLimits::default(), ambient).await;
    shop.stock("mug", 1_000_000).await;
    (shop, clock)
}

async fn cart(shop: &TestApi) -> String {
    let items = json!({"items": [{"sku": "mug", "quantity": 1}]});
    let made = shop.call(Method::POST, "/v1/carts").key(&shop.own.public).json(&items).send().await;
    made.expect_status(201).json["id"].as_str().expect("an id").to_owned()
}

async fn check_out(shop: &TestApi, cart: &str) -> Answer {
    let body = json!({"customer": order_body()["customer"], "payment_method": "pm_card_visa"});
    let call = shop.call(Method::POST, &format!("/v1/carts/{cart}/checkout")).key(&shop.own.public);
    call.header("idempotency-key", cart).json(&body).send().await
}

/// Pays and fulfils an order, as workers do.
async fn ship(shop: &TestApi, order: &Value) {
    let (id, now) = (id_of(order), shop.ambient.now());
    let amount_minor = order["total_minor"].as_i64().expect("a total");
    let facts = CaptureFacts {
        payment: PaymentId::of_order(id),
        provider_reference: format!("ch_{id}"),
        amount_minor,
    };
    shop.orders.mark_paid(id, facts, now).await.expect("pays");
    shop.orders.fulfil(id, now).await.expect("ships");
}

/// Sends all messages of the outbox, as relays do.
pub(crate) async fn relay(shop: &TestApi) {
    loop {
        let now = shop.ambient.now();
        let claimed = shop.orders.claim("relay", 500, Duration::from_secs(30), now).await.expect("claims");
        if claimed.is_empty() {
            return;
        }
        let positions: Vec<_> = claimed.iter().map(|message| message.position).collect();
        shop.orders.mark_sent(&positions, now).await.expect("marks");
    }
}

/// Places one more order than may be stuck, and tells the relays.
async fn pile_up(shop: &TestApi) -> Vec<Value> {
    let mut placed = Vec::new();
    for n in 0..=STUCK_MAX {
        placed.push(shop.order(&format!("waits-{n}")).await);
    }
    relay(shop).await;
    placed
}

/// Waits until new orders are answered with this status: the backlog is measured every two seconds. They name a product
/// that there is not, so none is placed: 422 where it is not refused.
pub(crate) async fn until_answered(shop: &TestApi, status: u16) -> Answer {
    let (tries, last) = (Cell::new(0), RefCell::new(None));
    let mut body = order_body();
    body["items"] = json!([{"sku": "no-such-product", "quantity": 1}]);
    until(&format!("an order is answered {status}"), || async {
        tries.set(tries.get() + 1);
        let answer = shop.place(&format!("try-{}-{status}", tries.get()), &body).send().await;
        let is_awaited = answer.status == status;
        *last.borrow_mut() = Some(answer);
        is_awaited
    })
    .await;
    last.into_inner().expect("an answer")
}

#[tokio::test]
async fn new_orders_are_refused_while_orders_wait_for_too_long_and_old_carts_go_first() {
    let (shop, clock) = shop().await;
    let (old_cart, later_cart) = (cart(&shop).await, cart(&shop).await);
    let placed = pile_up(&shop).await;
    clock.advance(ORDER_AGE + Duration::from_secs(1));
    let refused = until_answered(&shop, 503).await.expect_problem(503, "reduced_capacity");
    let kind = refused.json["type"].as_str().expect("a type");
    assert!(kind.ends_with("/http-problem-types#temporary-reduced-capacity"), "{kind}");
    let wait: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((5..=300).contains(&wait), "{wait}");

    let again = shop.place("waits-3", &order_body()).send().await.expect_status(202);
    assert_eq!((again.header("idempotent-replayed"), &again.json), ("true", &placed[3]), "accepted before");
    check_out(&shop, &old_cart).await.expect_status(202);
    let new_cart = cart(&shop).await;
    check_out(&shop, &new_cart).await.expect_problem(503, "reduced_capacity");
    let kept = shop.call(Method::GET, &format!("/v1/carts/{new_cart}")).key(&shop.own.public).send().await;
    assert_eq!(kept.expect_status(200).json["status"], "open", "a refused cart can be ordered later");

    // Beyond the second limit carts wait as well, until orders go on.
    clock.advance(CART_AGE);
    until_answered(&shop, 503).await;
    check_out(&shop, &later_cart).await.expect_problem(503, "reduced_capacity");
    let orders = shop.get("/v1/orders?limit=100&status=pending").send().await.expect_status(200);
    for order in orders.list() {
        ship(&shop, order).await;
    }
    relay(&shop).await;
    until_answered(&shop, 422).await;
    check_out(&shop, &later_cart).await.expect_status(202);
    check_out(&shop, &new_cart).await.expect_status(202);
}

#[tokio::test]
async fn a_message_that_no_relay_sends_holds_orders_up_as_well() {
    let (shop, clock) = shop().await;
    shop.order("not-relayed").await;
    clock.advance(ORDER_AGE + Duration::from_secs(1));
    until_answered(&shop, 503).await.expect_problem(503, "reduced_capacity");
    relay(&shop).await;
    until_answered(&shop, 422).await;
}

#[tokio::test]
async fn an_accepted_order_is_told_when_it_will_be_fulfilled() {
    let (shop, clock) = shop().await;
    let estimate_of = |answer: &Value| {
        let text = answer["estimated_fulfilment_at"].as_str()?;
        Some(text.parse::<Timestamp>().expect("RFC 3339"))
    };
    let mut placed = Vec::new();
    for n in 0..8 {
        placed.push(shop.order(&format!("first-{n}")).await);
    }
    assert!(placed.iter().all(|order| estimate_of(order).is_none()), "nothing is measured yet");
    clock.advance(Duration::from_secs(4));
    for order in &placed {
        ship(&shop, order).await;
    }
    relay(&shop).await;
    let told = until_told(&shop).await;
    let estimate = estimate_of(&told.json).expect("an estimate");
    let usual = estimate.duration_since(shop.ambient.now()).as_secs();
    assert!((4..600).contains(&usual), "orders took four seconds of late: {usual}");
    let key = told.json["reference"].as_str().expect("a reference");
    let mut body = order_body();
    body["reference"] = json!(key);
    let again = shop.place(key, &body).send().await.expect_status(202);
    assert_eq!(again.text, told.text, "told once, to the byte");
    let read = shop.get(&format!("/v1/orders/{}", id_of(&told.json))).send().await.expect_status(200);
    assert!(read.json.get("estimated_fulfilment_at").is_none(), "an order is what it is, not what was told");

    // The same from a cart, whose repetition is told by its own key.
    let cart = cart(&shop).await;
    let first = check_out(&shop, &cart).await.expect_status(202);
    assert!(estimate_of(&first.json).is_some(), "{}", first.text);
    let again = check_out(&shop, &cart).await.expect_status(202);
    assert_eq!((again.header("idempotent-replayed"), &again.text), ("true", &first.text));
}

/// The answer to the first order that is told an estimate; its reference is its key.
async fn until_told(shop: &TestApi) -> Answer {
    let (tries, last) = (Cell::new(0), RefCell::new(None));
    until("an estimate is told", || async {
        tries.set(tries.get() + 1);
        let (key, mut body) = (format!("told-{}", tries.get()), order_body());
        body["reference"] = json!(key);
        let answer = shop.place(&key, &body).key(&shop.own.public).send().await.expect_status(202);
        let is_told = answer.json.get("estimated_fulfilment_at").is_some();
        *last.borrow_mut() = Some(answer);
        is_told
    })
    .await;
    last.into_inner().expect("an answer")
}
