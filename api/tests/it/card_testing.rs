//! Card testing: stolen cards are tried in a shop beside honest customers. Charges end as workers record them; an order
//! that was accepted counts as one that reaches the payment provider.

use std::{collections::VecDeque, num::NonZeroU32};

use api::{ApiConfig, CardTestingLimits, ServerLimits};
use base::{Ambient, testing::until};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use store::{
    domain::{EventKind, MerchantId, OrderId, PageRequest, PaymentId},
    orders::{CaptureFacts, Orders},
    outbox::Outbox,
};

use crate::util::{Answer, Call, TestApi, config, id_of, order_body, proof};

const ATTEMPTS: usize = 5_000;
const SHOPPERS: usize = 500;
/// Networks of the attacker: IPv4 addresses and IPv6 /64s.
const SOURCES: usize = 5;
/// 1 % of the attempts, and below.
const REACHED_MAX: usize = ATTEMPTS / 100 - 1;
/// Bits of a proof in tests, where hashing is not optimised.
const BITS: u32 = 6;

/// A shop with the default bounds behind a proxy on loopback, so that the test chooses addresses.
async fn shop(limits: CardTestingLimits) -> TestApi {
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let card_testing = CardTestingLimits { proof_bits: BITS, ..limits };
    let config = ApiConfig { trusted_proxies, card_testing, ..config() };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    shop.stock("mug", 1_000_000).await;
    shop
}

/// An order of one mug by this payment method.
fn body(method: &str) -> Value {
    let mut body = order_body();
    body["items"] = json!([{"sku": "mug", "quantity": 1}]);
    body["payment_method"] = json!(method);
    body
}

fn place(shop: &TestApi, key: &str, method: &str, from: &str) -> Call {
    shop.place(key, &body(method)).header("x-forwarded-for", from)
}

/// Places an order as a storefront does: with a proof where one is asked for.
async fn buy(shop: &TestApi, key: &str, from: &str) -> Answer {
    let answer = place(shop, key, "pm_card_visa", from).send().await;
    if answer.json["code"] != "proof_of_work_required" {
        return answer;
    }
    assert_eq!(answer.header("orderworks-proof-bits"), BITS.to_string());
    place(shop, key, "pm_card_visa", from).header("orderworks-proof", &proof(BITS, key)).send().await
}

async fn capture(shop: &TestApi, order: OrderId) {
    let payment = PaymentId::of_order(order);
    let facts = CaptureFacts { payment, provider_reference: format!("ch_{order}"), amount_minor: 250 };
    shop.orders.mark_paid(order, facts, shop.ambient.now()).await.expect("pays");
}

async fn decline(shop: &TestApi, order: OrderId) {
    let payment = PaymentId::of_order(order);
    let failed = shop.orders.mark_payment_failed(order, payment, "card_declined", shop.ambient.now());
    failed.await.expect("declines");
}

/// Kinds of the merchant's newest events.
async fn kinds(shop: &TestApi, merchant: MerchantId) -> Vec<EventKind> {
    let page = PageRequest { limit: 100, after: None };
    let events = shop.orders.events(merchant, page).await.expect("reads").items;
    events.into_iter().map(|event| event.kind).collect()
}

fn number(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).expect("not zero")
}

/// What the attacker and the shoppers do next; a seed decides the order of the steps and who pays late.
#[derive(Clone, Copy)]
enum Step {
    Attack(usize),
    Shop(usize),
}

/// The address of an attempt: a host of one of the networks, each host once where there are many.
fn source(random: &mut fastrand::Rng) -> String {
    match random.usize(0..SOURCES) {
        network @ 0..3 => format!("198.51.100.{network}"),
        network => format!("2001:db8:0:{network}::{:x}", random.u16(1..)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stolen_cards_hardly_reach_the_provider_and_honest_orders_all_do() {
    let shop = shop(CardTestingLimits::default()).await;
    let mut random = fastrand::Rng::with_seed(20_260_711);
    let mut steps: Vec<Step> = (0..ATTEMPTS).map(Step::Attack).chain((0..SHOPPERS).map(Step::Shop)).collect();
    random.shuffle(&mut steps);
    let seeded: Vec<(Step, String)> = steps.into_iter().map(|step| (step, source(&mut random))).collect();
    let run = |(step, source): (Step, String)| {
        let shop = &shop;
        async move {
            match step {
                Step::Attack(n) => {
                    let answer =
                        place(shop, &format!("a{n}"), &format!("pm_stolen_{n}"), &source).send().await;
                    assert!(matches!(answer.status, 202 | 429), "{}", answer.text);
                    (step, answer)
                }
                Step::Shop(n) => {
                    (step, buy(shop, &format!("s{n}"), &format!("203.0.{}.{}", n / 250, n % 250)).await)
                }
            }
        }
    };
    let mut answers = stream::iter(seeded).map(run).buffer_unordered(16);
    let (mut reached, mut bought, mut charges) = (0, 0, VecDeque::new());
    while let Some((step, answer)) = answers.next().await {
        match step {
            Step::Attack(_) if answer.status == 429 => continue,
            Step::Attack(_) => reached += 1,
            Step::Shop(_) => bought += 1,
        }
        charges.push_back((step, id_of(&answer.expect_status(202).json)));
        // The provider decides later than orders come.
        if charges.len() > 20
            && let Some((step, order)) = charges.pop_front()
        {
            match step {
                Step::Attack(_) => decline(&shop, order).await,
                Step::Shop(_) => capture(&shop, order).await,
            }
        }
    }
    assert_eq!(bought, SHOPPERS, "no honest order is refused");
    assert!(reached <= REACHED_MAX, "{reached} of {ATTEMPTS} reached the provider");
}

#[tokio::test]
async fn unpaid_orders_count_by_network_until_they_are_paid() {
    let limits = CardTestingLimits {
        unpaid_per_guest: number(3),
        unpaid_with_proof: number(4),
        ..CardTestingLimits::default()
    };
    let shop = shop(limits).await;
    let mut orders = Vec::new();
    for n in 0..3 {
        let answer = place(&shop, &format!("k{n}"), "pm_card_visa", &format!("2001:db8::{n:x}")).send().await;
        orders.push(id_of(&answer.expect_status(202).json));
    }
    let asked = place(&shop, "k3", "pm_card_visa", "2001:db8::9").send().await;
    let asked = asked.expect_problem(429, "proof_of_work_required");
    assert_eq!(asked.json["violated-policies"], json!(["unpaid-ip"]));
    let policies = asked.headers("ratelimit-policy");
    assert!(policies.contains(&"\"unpaid-ip\";q=3;w=1080"), "{policies:?}");
    assert!((1..=360).contains(&asked.header("retry-after").parse::<u64>().expect("seconds")));
    place(&shop, "k3", "pm_card_visa", "2001:db8:0:1::9").send().await.expect_status(202);
    // A proof serves its own key, and lets one more through.
    let with = |key: &str, proof: &str| {
        place(&shop, key, "pm_card_visa", "2001:db8::9").header("orderworks-proof", proof).send()
    };
    with("k4", "x").await.expect_problem(429, "proof_of_work_required");
    with("k5", &proof(BITS, "k5")).await.expect_status(202);
    with("k6", &proof(BITS, "k6")).await.expect_problem(429, "rate_limited");
    // A refused order takes nothing, and a paid one gives back what it took.
    for order in orders {
        capture(&shop, order).await;
    }
    until("paid orders no longer count", || async {
        let key = Ambient::system().uuid().to_string();
        place(&shop, &key, "pm_card_visa", "2001:db8::9").send().await.status == 202
    })
    .await;
}

#[tokio::test]
async fn orders_that_are_not_placed_and_repetitions_do_not_count() {
    let limits = CardTestingLimits { unpaid_per_guest: number(2), ..CardTestingLimits::default() };
    let shop = shop(limits).await;
    let from = "198.51.100.1";
    for n in 0..3 {
        let mut unknown = body("pm_card_visa");
        unknown["items"] = json!([{"sku": "nothing", "quantity": 1}]);
        let refused = shop.place(&format!("u{n}"), &unknown).header("x-forwarded-for", from).send().await;
        refused.expect_problem(422, "unknown_sku");
    }
    for replayed in ["", "true", "true"] {
        let answer = place(&shop, "k1", "pm_card_visa", from).send().await.expect_status(202);
        assert_eq!(answer.header("idempotent-replayed"), replayed);
    }
    place(&shop, "k2", "pm_card_visa", from).send().await.expect_status(202);
    place(&shop, "k3", "pm_card_visa", from).send().await.expect_problem(429, "proof_of_work_required");
    // The merchant's server is not counted by its address.
    for n in 0..3 {
        let own = place(&shop, &format!("s{n}"), "pm_card_visa", from).key(&shop.own.secret);
        own.send().await.expect_status(202);
    }
}

#[tokio::test]
async fn a_declined_payment_method_and_a_device_are_known_from_any_address() {
    let limits = CardTestingLimits {
        unpaid_per_guest: number(2),
        unpaid_per_customer: number(2),
        unpaid_with_proof: number(2),
        declines_per_payment_method: number(2),
        ..CardTestingLimits::default()
    };
    let shop = shop(limits).await;
    for n in 0..2 {
        let from = format!("198.51.100.{n}");
        let answer = place(&shop, &format!("k{n}"), "pm_worn", &from).send().await.expect_status(202);
        decline(&shop, id_of(&answer.json)).await;
    }
    let mut tries = 0_u16;
    until("the payment method is known", || {
        tries += 1;
        let (key, from, shop) =
            (format!("t{tries}"), format!("198.18.{}.{}", tries / 250, tries % 250), &shop);
        async move {
            let answer = place(shop, &key, "pm_worn", &from).send().await;
            let is_known = answer.status == 429;
            if is_known {
                let answer = answer.expect_problem(429, "rate_limited");
                assert_eq!(answer.json["violated-policies"], json!(["declined-payment-method"]));
            }
            is_known
        }
    })
    .await;
    let mut refused = None;
    for n in 0..3 {
        let from = format!("203.0.113.{n}");
        let call = place(&shop, &format!("d{n}"), "pm_card_visa", &from);
        let answer = call.header("orderworks-device", "0123456789abcdef").send().await;
        refused = (answer.status == 429).then_some(answer);
    }
    let refused =
        refused.expect("two unpaid orders of a device").expect_problem(429, "proof_of_work_required");
    assert_eq!(refused.json["violated-policies"], json!(["unpaid-device"]));
    place(&shop, "other", "pm_card_visa", "203.0.113.9").send().await.expect_status(202);
}

#[tokio::test]
async fn a_merchant_whose_payments_are_declined_is_told_and_its_guests_work() {
    let limits = CardTestingLimits { alarm_payments: number(4), ..CardTestingLimits::default() };
    let shop = shop(limits).await;
    for n in 0..4 {
        let answer =
            place(&shop, &format!("k{n}"), &format!("pm_{n}"), &format!("198.51.100.{n}")).send().await;
        decline(&shop, id_of(&answer.expect_status(202).json)).await;
    }
    until("the merchant is told", || async {
        kinds(&shop, shop.own.id).await.contains(&EventKind::CardTestingSuspected)
    })
    .await;
    let asked = place(&shop, "k5", "pm_card_visa", "203.0.113.1").send().await;
    let asked = asked.expect_problem(429, "proof_of_work_required");
    let seconds: u64 = asked.header("retry-after").parse().expect("seconds");
    assert!((3_500..=3_600).contains(&seconds), "{seconds}");
    buy(&shop, "k5", "203.0.113.1").await.expect_status(202);
    // Others are not concerned, and neither is the merchant's server.
    let own = place(&shop, "s1", "pm_card_visa", "203.0.113.1").key(&shop.own.secret);
    own.send().await.expect_status(202);
    assert!(kinds(&shop, shop.other.id).await.is_empty());
}
