//! Sessions of a customer: lifetime, number, and ways to end them.

use std::time::Duration;

use api::ServerLimits;
use base::{Ambient, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    customers::{registered, registered_at, sign_in},
    util::{Answer, Call, TestApi, config},
};

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "canary correct horse";

async fn signed_in(shop: &TestApi) -> Value {
    sign_in(shop, EMAIL, PASSWORD).send().await.expect_status(201).json
}

fn call(shop: &TestApi, method: Method, path: &str, session: &Value) -> Call {
    let token = session["token"].as_str().expect("a token");
    shop.call(method, path).key(&shop.own.public).header("orderworks-session", token)
}

async fn list(shop: &TestApi, session: &Value) -> Answer {
    call(shop, Method::GET, "/v1/sessions", session).send().await
}

async fn ada(shop: &TestApi) {
    let body = json!({"email": EMAIL, "name": "Ada", "password": PASSWORD});
    registered(shop, &body).await;
}

#[tokio::test]
async fn a_customer_lists_sessions_and_ends_one_or_all() {
    let shop = TestApi::open().await;
    ada(&shop).await;
    let (phone, desk) = (signed_in(&shop).await, signed_in(&shop).await);
    let listed = list(&shop, &desk).await.expect_status(200);
    let ids: Vec<_> =
        listed.list().iter().map(|session| (session["id"].clone(), session["current"].clone())).collect();
    assert_eq!(ids, [(phone["id"].clone(), json!(false)), (desk["id"].clone(), json!(true))]);
    assert!(!listed.text.contains("ows_"));

    let path = format!("/v1/sessions/{}", phone["id"].as_str().expect("an id"));
    call(&shop, Method::DELETE, &path, &desk).send().await.expect_status(204);
    list(&shop, &phone).await.expect_problem(401, "session_invalid");
    call(&shop, Method::DELETE, &path, &desk).send().await.expect_problem(404, "not_found");

    let (third, fourth) = (signed_in(&shop).await, signed_in(&shop).await);
    call(&shop, Method::DELETE, "/v1/sessions", &third).send().await.expect_status(204);
    for ended in [&desk, &third, &fourth] {
        list(&shop, ended).await.expect_problem(401, "session_invalid");
    }
    let fresh = signed_in(&shop).await;
    assert_eq!(list(&shop, &fresh).await.expect_status(200).list().len(), 1);
}

#[tokio::test]
async fn a_customer_reads_the_account_in_its_session_only() {
    let shop = TestApi::open().await;
    ada(&shop).await;
    let session = signed_in(&shop).await;
    let read = || call(&shop, Method::GET, "/v1/customers/current", &session);
    assert_eq!(read().send().await.expect_status(200).json, session["customer"]);
    read().key(&shop.other.public).send().await.expect_problem(401, "session_invalid");
    call(&shop, Method::DELETE, "/v1/sessions/current", &session).send().await.expect_status(204);
    read().send().await.expect_problem(401, "session_invalid");
}

#[tokio::test]
async fn sessions_of_another_customer_cannot_be_ended() {
    let shop = TestApi::open().await;
    ada(&shop).await;
    let eve = json!({"email": "eve@example.com", "name": "Eve", "password": PASSWORD});
    registered(&shop, &eve).await;
    let adas = signed_in(&shop).await;
    let eves = sign_in(&shop, "eve@example.com", PASSWORD).send().await.expect_status(201).json;
    let path = format!("/v1/sessions/{}", adas["id"].as_str().expect("an id"));
    call(&shop, Method::DELETE, &path, &eves).send().await.expect_problem(404, "not_found");
    call(&shop, Method::DELETE, "/v1/sessions", &eves).send().await.expect_status(204);
    assert_eq!(list(&shop, &adas).await.expect_status(200).list().len(), 1);
}

#[tokio::test]
async fn signing_in_over_a_planted_session_opens_another() {
    let shop = TestApi::open().await;
    ada(&shop).await;
    let eve = json!({"email": "eve@example.com", "name": "Eve", "password": PASSWORD});
    registered(&shop, &eve).await;
    let of_eve = sign_in(&shop, "eve@example.com", PASSWORD).send().await.expect_status(201).json;
    let made_up = json!({"id": "ses_x", "token": format!("ows_{}", "A".repeat(43))});
    let current = |session: &Value| call(&shop, Method::GET, "/v1/customers/current", session).send();
    for planted in [&of_eve, &made_up] {
        let token = planted["token"].as_str().expect("a token");
        let opened = sign_in(&shop, EMAIL, PASSWORD).header("orderworks-session", token).send().await;
        let opened = opened.expect_status(201).json;
        assert!(opened["token"] != planted["token"] && opened["id"] != planted["id"], "{opened}");
        assert_eq!(current(&opened).await.expect_status(200).json["email"], EMAIL);
    }
    assert_eq!(current(&of_eve).await.expect_status(200).json["email"], "eve@example.com");
    assert_eq!(list(&shop, &of_eve).await.expect_status(200).list().len(), 1);
    current(&made_up).await.expect_problem(401, "session_invalid");
}

#[tokio::test]
async fn a_session_is_nothing_to_another_merchant() {
    let shop = TestApi::open().await;
    ada(&shop).await;
    let there = json!({"email": EMAIL, "name": "Ada", "password": PASSWORD});
    registered_at(&shop, &shop.other, &there).await;
    let sign_in_there = sign_in(&shop, EMAIL, PASSWORD).key(&shop.other.public);
    let (here, there) = (signed_in(&shop).await, sign_in_there.send().await.expect_status(201).json);
    let path = format!("/v1/sessions/{}", here["id"].as_str().expect("an id"));
    let at_other = |method, path| call(&shop, method, path, &here).key(&shop.other.public);
    at_other(Method::DELETE, &path).send().await.expect_problem(401, "session_invalid");
    at_other(Method::GET, "/v1/sessions").send().await.expect_problem(401, "session_invalid");
    let theirs = call(&shop, Method::DELETE, &path, &there).key(&shop.other.public);
    theirs.send().await.expect_problem(404, "not_found");
    assert_eq!(list(&shop, &here).await.expect_status(200).list().len(), 1);
}

#[tokio::test]
async fn the_eleventh_session_ends_the_first() {
    let shop = TestApi::open().await;
    ada(&shop).await;
    let first = signed_in(&shop).await;
    let mut last = signed_in(&shop).await;
    for _ in 0..9 {
        last = signed_in(&shop).await;
    }
    list(&shop, &first).await.expect_problem(401, "session_invalid");
    assert_eq!(list(&shop, &last).await.expect_status(200).list().len(), 10);
}

#[tokio::test]
async fn a_session_in_daily_use_ends_after_ninety_days() {
    let (ambient, clock) = Ambient::steered(7, Timestamp::UNIX_EPOCH);
    let shop = TestApi::open_at(config(), ServerLimits::default(), ambient).await;
    ada(&shop).await;
    let session = signed_in(&shop).await;
    for _ in 0..89 {
        clock.advance(Duration::from_hours(24));
        list(&shop, &session).await.expect_status(200);
    }
    clock.advance(Duration::from_hours(24));
    list(&shop, &session).await.expect_problem(401, "session_invalid");
}
