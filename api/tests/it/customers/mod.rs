//! Registration, sign-in, sign-out and password reset of customers.

mod passwords;
mod sign_in;

use std::{num::NonZeroU32, time::Duration};

use api::{ServerLimits, SignInLimits};
use base::Ambient;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use store::{
    customers::Customers,
    outbox::{Command, Outbox, OutboxBody},
    token::{Token, TokenKind},
    verifications::{Minting, Verifications},
};

use crate::util::{Answer, Call, Merchant, TestApi, config, logs};

const PASSWORD: &str = "canary correct horse";

fn ada() -> Value {
    json!({"email": "ada@example.com", "name": "Ada Lovelace", "password": PASSWORD})
}

pub(crate) fn register(shop: &TestApi, body: &Value) -> Call {
    shop.call(Method::POST, "/v1/customers").key(&shop.own.public).json(body)
}

/// The token in the mail for the merchant's newest request, read `after` it; `None` if no mail would be sent.
pub(crate) async fn mailed(shop: &TestApi, of: &Merchant, after: Duration) -> Option<Token> {
    let now = shop.ambient.now();
    let messages = shop.orders.claim("mails", 1_000, Duration::from_mins(1), now).await.expect("claims");
    let mut requested = Vec::new();
    for message in &messages {
        if let OutboxBody::Command { command: Command::Verify { merchant, verification, .. }, .. } =
            &message.body
            && *merchant == of.id
        {
            requested.push(*verification);
        }
    }
    let newest = *requested.last().expect("a request");
    let (token, at) = (Token::fresh(TokenKind::Verification, &shop.ambient), base::time::later(now, after));
    let minting = shop.orders.mint_verification(of.id, newest, token.hash(), at).await.expect("mints");
    assert!(matches!(minting, Minting::Minted { .. }), "{minting:?}");
    let found = shop.orders.verification_by_token(of.id, token.hash(), at).await.expect("reads");
    found.map(|_| token)
}

pub(crate) fn verify(shop: &TestApi, token: &str, password: &str) -> Call {
    let body = json!({"token": token, "password": password});
    shop.call(Method::POST, "/v1/customers/verify").key(&shop.own.public).json(&body)
}

/// Registers a customer and verifies the address.
pub(crate) async fn registered(shop: &TestApi, body: &Value) -> Answer {
    registered_at(shop, &shop.own, body).await
}

/// The same at the given merchant.
pub(crate) async fn registered_at(shop: &TestApi, merchant: &Merchant, body: &Value) -> Answer {
    register(shop, body).key(&merchant.public).send().await.expect_status(202);
    let token = mailed(shop, merchant, Duration::ZERO).await.expect("a token");
    let password = body["password"].as_str().expect("a password");
    verify(shop, token.expose(), password).key(&merchant.public).send().await.expect_status(201)
}

fn ask_reset(shop: &TestApi, email: &str) -> Call {
    let call = shop.call(Method::POST, "/v1/customers/password_reset").key(&shop.own.public);
    call.json(&json!({"email": email}))
}

fn reset(shop: &TestApi, token: &str, password: &str) -> Call {
    let call = shop.call(Method::POST, "/v1/customers/password_reset/confirm").key(&shop.own.public);
    call.json(&json!({"token": token, "password": password}))
}

fn delete(shop: &TestApi, session: &str, password: &str) -> Call {
    let call = shop.call(Method::DELETE, "/v1/customers/current").key(&shop.own.public);
    call.header("orderworks-session", session).json(&json!({"password": password}))
}

pub(crate) fn sign_in(shop: &TestApi, email: &str, password: &str) -> Call {
    let body = json!({"email": email, "password": password});
    shop.call(Method::POST, "/v1/sessions").key(&shop.own.public).json(&body)
}

fn sign_out(shop: &TestApi, token: &str) -> Call {
    let call = shop.call(Method::DELETE, "/v1/sessions/current").key(&shop.own.public);
    call.header("orderworks-session", token)
}

fn token(answer: &Answer) -> String {
    answer.json["token"].as_str().expect("a token").to_owned()
}

/// Creates an empty cart with the session; succeeds if the session is valid.
async fn is_signed_in(shop: &TestApi, token: &str, key: &str) -> Answer {
    shop.call(Method::POST, "/v1/carts").key(key).header("orderworks-session", token).send().await
}

#[tokio::test]
async fn a_customer_registers_signs_in_and_out() {
    let shop = TestApi::open().await;
    let registered = registered(&shop, &ada()).await;
    let id = registered.json["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("cus_"), "{id}");
    let created_at = registered.json["created_at"].clone();
    let shown = json!({
        "object": "customer", "id": id, "email": "ada@example.com", "name": "Ada Lovelace", "created_at": created_at,
    });
    assert_eq!(registered.json, shown);
    let events = shop.get("/v1/events").send().await.expect_status(200);
    let [event] = &events.list()[..] else { panic!("{}", events.text) };
    assert_eq!(
        (&event["type"], &event["sequence"], &event["data"]),
        (&json!("customer.registered"), &json!(1), &shown)
    );

    let session = sign_in(&shop, "ADA@example.com", PASSWORD).send().await.expect_status(201);
    assert_eq!((&session.json["object"], &session.json["customer"]), (&json!("session"), &shown));
    let token = token(&session);
    assert!(token.starts_with("ows_") && token.len() >= 40, "{token}");
    assert!(!events.text.contains("argon2") && !session.text.contains("argon2"));
    let cart = is_signed_in(&shop, &token, &shop.own.public).await.expect_status(201);
    assert_eq!(cart.json["customer"], json!(id));
    assert_ne!(
        self::token(&sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_status(201)),
        token
    );

    for _ in 0..2 {
        let answer = sign_out(&shop, &token).send().await.expect_status(204);
        assert_eq!(answer.text, "");
    }
    let ended = is_signed_in(&shop, &token, &shop.own.public).await.expect_problem(401, "session_invalid");
    assert_eq!(ended.header("www-authenticate"), "Orderworks-Session");
    let without = shop.call(Method::DELETE, "/v1/sessions/current").key(&shop.own.public);
    without.send().await.expect_problem(401, "session_invalid");
}

const WAITED: Duration = Duration::from_mins(5);

#[tokio::test]
async fn known_and_unknown_addresses_register_alike() {
    let shop = TestApi::open().await;
    let first = register(&shop, &ada()).header("x-request-id", "same").send().await.expect_status(202);
    assert_eq!(first.json, json!({"object": "registration", "status": "verification_sent"}));
    sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_problem(401, "wrong_credentials");
    assert!(shop.get("/v1/events").send().await.expect_status(200).list().is_empty());
    let token = mailed(&shop, &shop.own, Duration::ZERO).await.expect("a token");
    verify(&shop, token.expose(), PASSWORD).send().await.expect_status(201);

    let mut known = ada();
    known["email"] = json!("Ada@EXAMPLE.com");
    known["password"] = json!("another pass of words");
    let again = register(&shop, &known).header("x-request-id", "same").send().await.expect_status(202);
    assert_eq!(again.text, first.text);
    let names = |answer: &Answer| answer.headers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&again), names(&first));
    assert_eq!(mailed(&shop, &shop.own, WAITED).await, None, "its mail has no token");
    sign_in(&shop, "ada@example.com", "another pass of words").send().await.expect_status(401);
    sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_status(201);
    assert_eq!(shop.get("/v1/events").send().await.expect_status(200).list().len(), 1);
}

#[tokio::test]
async fn registering_an_address_first_wins_nothing() {
    let shop = TestApi::open().await;
    let mut eve = ada();
    eve["password"] = json!("canoe on a far lake");
    register(&shop, &eve).send().await.expect_status(202);
    let of_eve = mailed(&shop, &shop.own, Duration::ZERO).await.expect("a token");
    register(&shop, &ada()).send().await.expect_status(202);
    let own = mailed(&shop, &shop.own, WAITED).await.expect("a token");
    // The owner of the address follows the stranger's link: with the owner's password it opens no account.
    let mut answers = Vec::new();
    for (token, password) in [
        (of_eve.expose(), PASSWORD),
        (own.expose(), "canoe on a far lake"),
        (&format!("owv_{}", "0".repeat(64)), PASSWORD),
        ("nonsense", PASSWORD),
    ] {
        let answer = verify(&shop, token, password).header("x-request-id", "same").send().await;
        answers.push(answer.expect_problem(422, "token_invalid").text);
    }
    let elsewhere = verify(&shop, own.expose(), PASSWORD).key(&shop.other.public);
    answers.push(
        elsewhere.header("x-request-id", "same").send().await.expect_problem(422, "token_invalid").text,
    );
    verify(&shop, own.expose(), PASSWORD).send().await.expect_status(201);
    for (token, password) in [(own.expose(), PASSWORD), (of_eve.expose(), "canoe on a far lake")] {
        let answer = verify(&shop, token, password).header("x-request-id", "same").send().await;
        answers.push(answer.expect_problem(422, "token_invalid").text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_status(201);
    sign_in(&shop, "ada@example.com", "canoe on a far lake").send().await.expect_status(401);
}

#[tokio::test]
async fn a_registration_ends_after_a_day() {
    let (ambient, clock) = Ambient::steered(5, Ambient::system().now());
    let shop = TestApi::open_at(config(), ServerLimits::default(), ambient).await;
    register(&shop, &ada()).send().await.expect_status(202);
    let token = mailed(&shop, &shop.own, Duration::ZERO).await.expect("a token");
    clock.advance(Duration::from_hours(24));
    verify(&shop, token.expose(), PASSWORD).send().await.expect_problem(422, "token_invalid");
}

#[tokio::test]
async fn a_repeated_registration_tells_nothing_about_passwords() {
    let shop = TestApi::open().await;
    let first = register(&shop, &ada()).header("idempotency-key", "k1").send().await.expect_status(202);
    assert_eq!(first.header("idempotent-replayed"), "");
    let token = mailed(&shop, &shop.own, Duration::ZERO).await.expect("a token");
    for proven in [false, true] {
        if proven {
            verify(&shop, token.expose(), PASSWORD).send().await.expect_status(201);
        }
        for password in [PASSWORD, "another pass of words"] {
            let mut body = ada();
            body["password"] = json!(password);
            let again =
                register(&shop, &body).header("idempotency-key", "k1").send().await.expect_status(202);
            assert_eq!((&again.text, again.header("idempotent-replayed")), (&first.text, "true"));
        }
        for (field, other) in [("name", "Bob"), ("email", "bob@example.com")] {
            let mut body = ada();
            body[field] = json!(other);
            let call = register(&shop, &body).header("idempotency-key", "k1");
            call.send().await.expect_problem(422, "idempotency_key_reused");
        }
    }
    // The same key at another merchant is a different key.
    let theirs = register(&shop, &ada()).key(&shop.other.public).header("idempotency-key", "k1");
    assert_eq!(theirs.send().await.expect_status(202).header("idempotent-replayed"), "");
}

#[tokio::test]
async fn many_proofs_at_once_open_one_account() {
    let shop = TestApi::open().await;
    register(&shop, &ada()).send().await.expect_status(202);
    let token = mailed(&shop, &shop.own, Duration::ZERO).await.expect("a token");
    let answers = join_all((0..6).map(|_| verify(&shop, token.expose(), PASSWORD).send())).await;
    let statuses = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((statuses(201), statuses(422)), (1, 5));
}

#[tokio::test]
async fn a_forgotten_password_is_reset_by_mail() {
    let shop = TestApi::open().await;
    registered(&shop, &ada()).await;
    let asked = ask_reset(&shop, "ADA@example.com").header("x-request-id", "same").send().await;
    let asked = asked.expect_status(202);
    assert_eq!(asked.json, json!({"object": "password_reset", "status": "verification_sent"}));
    let token = mailed(&shop, &shop.own, Duration::ZERO).await.expect("a token");
    let unknown = ask_reset(&shop, "bob@example.com").header("x-request-id", "same").send().await;
    assert_eq!(unknown.expect_status(202).text, asked.text);
    assert_eq!(mailed(&shop, &shop.own, Duration::ZERO).await, None);

    verify(&shop, token.expose(), PASSWORD).send().await.expect_problem(422, "token_invalid");
    let short = reset(&shop, token.expose(), "short").send().await.expect_problem(422, "validation_failed");
    assert_eq!(short.faults(), ["/password wrong_length"]);
    let elsewhere = reset(&shop, token.expose(), "quite another horse").key(&shop.other.public);
    elsewhere.send().await.expect_problem(422, "token_invalid");
    let session = self::token(&sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_status(201));
    let done = reset(&shop, token.expose(), "quite another horse").send().await.expect_status(204);
    assert_eq!(done.text, "");
    is_signed_in(&shop, &session, &shop.own.public).await.expect_problem(401, "session_invalid");
    sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_problem(401, "wrong_credentials");
    sign_in(&shop, "ada@example.com", "quite another horse").send().await.expect_status(201);
    for bad in [token.expose(), "", "owv_", "nonsense"] {
        reset(&shop, bad, "a stolen grey horse").send().await.expect_problem(422, "token_invalid");
    }
}

#[tokio::test]
async fn an_account_is_deleted_by_its_owner_and_its_orders_stay() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let id = registered(&shop, &ada()).await.json["id"].clone();
    let order = shop.order("k1").await["id"].as_str().expect("an id").to_owned();
    let session = token(&sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_status(201));
    delete(&shop, &session, "another pass of words").send().await.expect_problem(401, "wrong_credentials");
    delete(&shop, "ows_nonsense", PASSWORD).send().await.expect_problem(401, "session_invalid");
    let elsewhere = delete(&shop, &session, PASSWORD).key(&shop.other.public);
    elsewhere.send().await.expect_problem(401, "session_invalid");
    delete(&shop, &session, PASSWORD).send().await.expect_status(204);
    sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_problem(401, "wrong_credentials");
    delete(&shop, &session, PASSWORD).send().await.expect_problem(401, "session_invalid");
    shop.get(&format!("/v1/orders/{order}")).send().await.expect_status(200);
    let events = shop.get("/v1/events").send().await.expect_status(200);
    let registered = events.list().iter().find(|event| event["type"] == "customer.registered");
    let left = json!({"object": "customer", "id": id, "deleted": true});
    assert_eq!(registered.expect("an event")["data"], left);
    self::registered(&shop, &ada()).await;
}

#[tokio::test]
async fn nonsense_is_refused_field_by_field() {
    let shop = TestApi::open().await;
    let answer =
        register(&shop, &json!({"email": "ada", "name": "\n", "password": "short", "role": "admin"}));
    let answer = answer.send().await.expect_problem(422, "validation_failed");
    let faults =
        ["/email wrong_format", "/name control_character", "/password wrong_length", "/role unknown_field"];
    assert_eq!(answer.faults(), faults);
    assert!(!answer.text.contains("short"));
    for body in [json!({}), json!([]), json!("x"), json!({"email": 1, "name": {}, "password": null})] {
        register(&shop, &body).send().await.expect_problem(422, "validation_failed");
        let call = shop.call(Method::POST, "/v1/sessions").key(&shop.own.public).json(&body);
        call.send().await.expect_problem(422, "validation_failed");
    }
    let long = json!({"email": "ada@example.com", "name": "Ada", "password": "p".repeat(129)});
    let answer = register(&shop, &long).send().await.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), ["/password wrong_length"]);
    for field in ["email", "name", "password"] {
        let mut body = ada();
        body[field] = json!("4242 4242 4242 4242");
        let answer = register(&shop, &body).send().await.expect_problem(422, "card_number_not_accepted");
        assert_eq!(answer.json["errors"][0]["pointer"], format!("/{field}"));
    }
    let keyless = shop.call(Method::POST, "/v1/customers").json(&ada());
    keyless.send().await.expect_problem(401, "unauthorized");
    assert!(shop.get("/v1/events").send().await.expect_status(200).list().is_empty());
}
