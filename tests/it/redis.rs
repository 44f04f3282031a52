//! Two API processes that share a Redis: one catalog, one limit; both work without it.

use std::time::{Duration, Instant};

use base::{Ambient, testing::Proxy};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use store::{
    outbox::{Command, Outbox, OutboxBody},
    token::{Token, TokenKind},
    verifications::{Minting, Verifications},
};

use crate::util::{Client, PATIENCE, TestMerchant, TestServers, ready};

const URL: &str = "ORDERWORKS_TEST_REDIS_URL";
const BURST: u32 = 10;

fn product(name: &str) -> Value {
    json!({ "name": name, "category": "things", "price_minor": 1250, "currency": "EUR" })
}

async fn put(client: &Client, name: &str) {
    let (status, body) = client.send(Method::PUT, "/v1/products/CUP", Some(&product(name))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
}

/// Polls until the product has this name.
async fn named(client: &Client, name: &str) {
    let asking = async { while client.get("/v1/products/CUP").await["name"] != name {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("the other process' write is seen");
}

/// Calls both servers in turns until each has rejected once; returns the number of accepted orders.
async fn until_refused(shop: &TestMerchant, clients: &[Client]) -> u32 {
    let (mut accepted, mut refused) = (0, vec![false; clients.len()]);
    for n in 0.. {
        let server = n % clients.len();
        let body = shop.order("CUP", 1, "pm_card_visa");
        let answer = clients[server].place_whole(&Ambient::system().uuid().to_string(), &body).await;
        let answer = answer.expect("answers");
        let limit = answer.headers().get("ratelimit").expect("a limit").to_str().expect("text");
        assert!(limit.starts_with("\"checkout-key\";r="), "{limit}");
        match answer.status() {
            StatusCode::ACCEPTED => accepted += 1,
            StatusCode::TOO_MANY_REQUESTS => refused[server] = true,
            other => panic!("{other}"),
        }
        if refused.iter().all(|refused| *refused) {
            break;
        }
    }
    accepted
}

/// The token that a worker would mail; no worker runs here.
async fn proof(stage: &TestServers, shop: &TestMerchant) -> Token {
    let (orders, ambient) = (stage.orders().await, Ambient::system());
    let (now, lease) = (ambient.now(), Duration::from_mins(1));
    let messages = orders.claim("mails", 1_000, lease, now).await.expect("claims");
    let requested = messages.iter().find_map(|message| match &message.body {
        OutboxBody::Command { command: Command::Verify { verification, .. }, .. } => Some(*verification),
        _ => None,
    });
    let (token, id) = (Token::fresh(TokenKind::Verification, &ambient), requested.expect("a request"));
    let minted = orders.mint_verification(shop.merchant, id, token.hash(), now).await.expect("mints");
    assert!(matches!(minted, Minting::Minted { account: None, .. }), "{minted:?}");
    token
}

/// Signs a customer of this shop in by one process and fills a cart by both; returns the token and the cart's path.
async fn filled_cart(stage: &TestServers, shop: &TestMerchant, clients: &[Client]) -> (String, String) {
    let email = format!("ada@{}", shop.domain);
    let ada = json!({ "email": email, "name": "Ada", "password": "canary correct horse" });
    let (status, answer) = clients[0].send(Method::POST, "/v1/customers", Some(&ada)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let verify = json!({ "token": proof(stage, shop).await.expose(), "password": "canary correct horse" });
    let (status, answer) = clients[0].send(Method::POST, "/v1/customers/verify", Some(&verify)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let credentials = json!({ "email": email, "password": "canary correct horse" });
    let (status, session) = clients[0].send(Method::POST, "/v1/sessions", Some(&credentials)).await;
    assert_eq!(status, StatusCode::CREATED, "{session}");
    let token = session["token"].as_str().expect("a token").to_owned();
    let signed_in = [("orderworks-session", token.as_str())];
    let (status, cart) = clients[1].send_with(Method::POST, "/v1/carts", &signed_in, None).await;
    assert_eq!((status, &cart["customer"]), (StatusCode::CREATED, &answer["id"]), "{cart}");
    let cart = format!("/v1/carts/{}", cart["id"].as_str().expect("an id"));
    for (client, quantity) in clients.iter().zip([2, 3]) {
        let body = json!({ "quantity": quantity });
        let (status, cart) = client.send(Method::PUT, &format!("{cart}/items/CUP"), Some(&body)).await;
        assert_eq!((status, &cart["items"][0]["quantity"]), (StatusCode::OK, &json!(quantity)), "{cart}");
    }
    (token, cart)
}

/// Without Redis there are no carts and sessions, and responses say so at once and clearly.
async fn carts_say_so(clients: &[Client], cart: &str, token: &str) {
    let signed_in = [("orderworks-session", token)];
    for client in clients {
        let quantity = json!({ "quantity": 1 });
        for (method, path, body) in [
            (Method::GET, cart.to_owned(), None),
            (Method::POST, "/v1/carts".to_owned(), None),
            (Method::PUT, format!("{cart}/items/CUP"), Some(&quantity)),
            (Method::DELETE, "/v1/sessions/current".to_owned(), None),
        ] {
            let (status, problem) = client.send_with(method, &path, &signed_in, body).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {problem}");
            assert_eq!(problem["code"], "temporarily_unavailable");
            assert!(problem["detail"].as_str().is_some_and(|text| text.contains("carts")), "{problem}");
        }
    }
}

async fn both_see_what_either_writes(clients: &[Client; 2]) {
    for (n, (writer, reader)) in [(0, 1), (1, 0), (0, 1)].into_iter().enumerate() {
        named(
            &clients[reader],
            clients[reader].get("/v1/products/CUP").await["name"].as_str().expect("text"),
        )
        .await;
        let name = format!("name {n}");
        put(&clients[writer], &name).await;
        named(&clients[reader], &name).await;
        assert_eq!(clients[writer].get("/v1/products/CUP").await["name"], *name, "fresh for who wrote it");
    }
}

#[tokio::test]
async fn two_processes_share_catalog_and_limit_and_go_on_apart_without_their_redis() {
    let Ok(url) = std::env::var(URL) else {
        return base::testing::skip(&format!("{URL} is not set; see `ops/services up redis`"));
    };
    let Some(stage) = TestServers::open().await else { return };
    let line = Proxy::to(&url).await;
    let ambient = Ambient::system();
    // The form of name that the cleanup of the cache's own tests recognises.
    let prefix = format!("ow-test-{}-{}", ambient.now().as_millisecond(), ambient.uuid().simple());
    let (by_line, burst) = (line.address(&url), BURST.to_string());
    let settings = [
        ("ORDERWORKS_ENGINES_CACHE", "redis"),
        ("ORDERWORKS_REDIS_URL", by_line.as_str()),
        ("ORDERWORKS_REDIS_PREFIX", prefix.as_str()),
        ("ORDERWORKS_REDIS_COMMAND_TIMEOUT_MS", "3000"),
        ("ORDERWORKS_CHECKOUT_PER_KEY_PER_SECOND", "1"),
        ("ORDERWORKS_CHECKOUT_BURST", burst.as_str()),
    ];
    let ((first, first_base), (second, second_base)) =
        tokio::join!(stage.api(&settings), stage.api(&settings));
    let shop = TestMerchant::open(&stage, &first_base, &["CUP"], 1_000).await;
    let clients = [shop.client.clone(), shop.client.at(&second_base)];

    both_see_what_either_writes(&clients).await;
    let (token, cart) = filled_cart(&stage, &shop, &clients).await;

    let began = Instant::now();
    let accepted = until_refused(&shop, &clients).await;
    let refilled = u32::try_from(began.elapsed().as_secs() + 1).expect("short");
    assert!((BURST..=BURST + refilled).contains(&accepted), "{accepted} in {refilled} s: one limit for both");

    line.sever();
    carts_say_so(&clients, &cart, &token).await;
    for (base, client) in [(&first_base, &clients[0]), (&second_base, &clients[1])] {
        let address = base.trim_start_matches("http://");
        let report = ready(address, |report| report["status"] == "degraded").await;
        assert!(report.to_string().contains("\"cache\""), "{report}");
        put(client, "apart").await;
        assert_eq!(client.get("/v1/products/CUP").await["name"], "apart", "reads and writes go on");
        assert_eq!(client.get_list("/v1/products").await.len(), 1);
        assert_eq!(client.get_list("/v1/categories").await.len(), 1);
    }
    // Each process applies the limit by itself, so this ends.
    let apart = tokio::time::timeout(Duration::from_secs(30), until_refused(&shop, &clients)).await;
    apart.expect("the local limits hold");

    line.restore();
    for base in [&first_base, &second_base] {
        ready(base.trim_start_matches("http://"), |report| report["status"] == "ok").await;
    }
    let kept = clients[1].get(&cart).await;
    assert_eq!((&kept["items"][0]["quantity"], &kept["status"]), (&json!(3), &json!("open")));
    let signed_in = [("orderworks-session", token.as_str())];
    let (status, _) = clients[1].send_with(Method::DELETE, "/v1/sessions/current", &signed_in, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "the session was kept, too");
    put(&clients[0], "together").await;
    named(&clients[1], "together").await;
    first.stop().await;
    second.stop().await;
    let password = url.rsplit_once('@').and_then(|(login, _)| login.rsplit_once(':')).expect("a login").1;
    assert!(!stage.log().contains(password), "a password is in the log");
    stage.close().await;
}
