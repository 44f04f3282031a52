//! Registration, sign-in, sign-out and password reset of customers.

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
        if let OutboxBody::Command { command: Command::Verify { merchant, verification }, .. } = &message.body
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
    let nobody = ask_reset(&shop, "bob@example.com").header("x-request-id", "same").send().await;
    assert_eq!(nobody.expect_status(202).text, asked.text);
    assert_eq!(mailed(&shop, &shop.own, Duration::ZERO).await, None);

    verify(&shop, token.expose(), PASSWORD).send().await.expect_problem(422, "token_invalid");
    let short = reset(&shop, token.expose(), "short").send().await.expect_problem(422, "validation_failed");
    assert_eq!(short.faults(), ["/password wrong_length"]);
    let elsewhere = reset(&shop, token.expose(), "quite another horse").key(&shop.other.public);
    elsewhere.send().await.expect_problem(422, "token_invalid");
    sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_status(201);
    let done = reset(&shop, token.expose(), "quite another horse").send().await.expect_status(204);
    assert_eq!(done.text, "");
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

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_look_the_same() {
    let shop = TestApi::open().await;
    registered(&shop, &ada()).await;
    let mut answers = Vec::new();
    for (email, password) in [
        ("ada@example.com", "another pass of words"),
        ("ada@example.com", "canary correct horse "),
        ("bob@example.com", PASSWORD),
    ] {
        let answer = sign_in(&shop, email, password).header("x-request-id", "same").send().await;
        answers.push(answer.expect_problem(401, "wrong_credentials").text);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // Another merchant's customer is unknown here.
    let elsewhere = sign_in(&shop, "ada@example.com", PASSWORD).key(&shop.other.public);
    elsewhere.send().await.expect_problem(401, "wrong_credentials");
    // A letter is the same however a keyboard composes it.
    let composed =
        json!({"email": "eve@example.com", "name": "Eve", "password": "\u{fc}ber den wolken \u{fc}ber"});
    registered(&shop, &composed).await;
    sign_in(&shop, "eve@example.com", "u\u{308}ber den wolken u\u{308}ber").send().await.expect_status(201);
}

#[tokio::test]
async fn a_session_is_the_merchants_and_no_other_token_is_one() {
    let shop = TestApi::open().await;
    registered(&shop, &ada()).await;
    let token = token(&sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_status(201));
    is_signed_in(&shop, &token, &shop.other.public).await.expect_problem(401, "session_invalid");
    sign_out(&shop, &token).key(&shop.other.public).send().await.expect_status(204);
    is_signed_in(&shop, &token, &shop.own.secret).await.expect_status(201);
    for bad in [
        "",
        "ows_",
        "ows_x",
        "nonsense",
        &token[4..],
        &format!("{token}x"),
        &format!("ows_{}", "x".repeat(500)),
    ] {
        is_signed_in(&shop, bad, &shop.own.public).await.expect_problem(401, "session_invalid");
        sign_out(&shop, bad).send().await.expect_status(204);
    }
    is_signed_in(&shop, &token, &shop.own.public).await.expect_status(201);
}

#[tokio::test]
async fn a_session_lives_while_it_is_used() {
    const DAY: Duration = Duration::from_hours(24);
    let (ambient, clock) = Ambient::steered(3, Ambient::system().now());
    let shop = TestApi::open_at(config(), ServerLimits::default(), ambient).await;
    registered(&shop, &ada()).await;
    let token = token(&sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_status(201));
    for _ in 0..3 {
        clock.advance(20 * DAY);
        is_signed_in(&shop, &token, &shop.own.public).await.expect_status(201);
    }
    clock.advance(31 * DAY);
    is_signed_in(&shop, &token, &shop.own.public).await.expect_problem(401, "session_invalid");
    sign_out(&shop, &token).send().await.expect_status(204);
}

fn limited(per_ip: u32, per_account: u32) -> api::ApiConfig {
    let number = |value| NonZeroU32::new(value).expect("not zero");
    let sign_in = SignInLimits {
        per_ip_per_minute: number(per_ip),
        per_account_per_minute: number(per_account),
        burst: number(3),
    };
    api::ApiConfig { sign_in, ..config() }
}

#[tokio::test]
async fn an_accounts_password_is_tried_so_often_whether_there_is_one_or_not() {
    let shop = TestApi::open_with(limited(1_000_000, 1), ServerLimits::default()).await;
    // A registration counts as one attempt, whether the address is verified or not.
    registered(&shop, &ada()).await;
    let mut bob = ada();
    bob["email"] = json!("bob@example.com");
    register(&shop, &bob).send().await.expect_status(202);
    for email in ["ada@example.com", "bob@example.com"] {
        for _ in 0..2 {
            sign_in(&shop, email, "another pass of words")
                .send()
                .await
                .expect_problem(401, "wrong_credentials");
        }
        let shouted = sign_in(&shop, &email.to_uppercase(), PASSWORD).send().await;
        let answer = shouted.expect_problem(429, "rate_limited");
        assert_eq!(answer.json["violated-policies"], json!(["sign-in-account"]));
        assert_eq!(answer.header("ratelimit-policy"), "\"sign-in-account\";q=3;w=180");
        ask_reset(&shop, email).send().await.expect_problem(429, "rate_limited");
        let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
    sign_in(&shop, "eve@example.com", PASSWORD).send().await.expect_problem(401, "wrong_credentials");
    // The same address at another merchant is a different account.
    let elsewhere = sign_in(&shop, "ada@example.com", PASSWORD).key(&shop.other.public);
    elsewhere.send().await.expect_problem(401, "wrong_credentials");
}

#[tokio::test]
async fn an_address_tries_so_many_and_guessed_keys_are_no_tries() {
    let shop = TestApi::open_with(limited(1, 1_000_000), ServerLimits::default()).await;
    register(&shop, &ada()).send().await.expect_status(202);
    for _ in 0..2 {
        let guessed = sign_in(&shop, "ada@example.com", PASSWORD).key("owk_pub_guess");
        guessed.send().await.expect_problem(401, "unauthorized");
        sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_problem(401, "wrong_credentials");
    }
    for call in [
        sign_in(&shop, "ada@example.com", PASSWORD),
        register(&shop, &ada()),
        verify(&shop, "owv_unknown", PASSWORD),
        ask_reset(&shop, "ada@example.com"),
        reset(&shop, "owv_unknown", PASSWORD),
        delete(&shop, "ows_unknown", PASSWORD),
    ] {
        let answer = call.send().await.expect_problem(429, "rate_limited");
        assert_eq!(answer.json["violated-policies"], json!(["sign-in-ip"]));
    }
}

#[tokio::test]
async fn passwords_and_tokens_are_neither_kept_nor_logged() {
    let shop = TestApi::open().await;
    let body =
        json!({"email": "canary-address@example.com", "name": "Canary Customer", "password": PASSWORD});
    for _ in 0..2 {
        let call = register(&shop, &body).header("idempotency-key", "canary-key");
        call.send().await.expect_status(202);
    }
    let proof = mailed(&shop, &shop.own, Duration::ZERO).await.expect("a token");
    verify(&shop, proof.expose(), PASSWORD).send().await.expect_status(201);
    verify(&shop, proof.expose(), "canary wrong two").send().await.expect_status(422);
    let session = sign_in(&shop, "canary-address@example.com", PASSWORD).send().await.expect_status(201);
    let token = token(&session);
    sign_in(&shop, "canary-address@example.com", "canary wrong one").send().await.expect_status(401);
    is_signed_in(&shop, &token, &shop.own.public).await.expect_status(201);
    let account =
        shop.orders.customer_by_email(shop.own.id, "canary-address@example.com").await.expect("reads");
    assert!(
        account.expect("an account").password_hash.as_phc().starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
    );
    let logged = logs::kept();
    for secret in [
        PASSWORD,
        "canary wrong",
        "canary-key",
        "canary-address",
        "Canary Customer",
        "$argon2id",
        &token,
        proof.expose(),
    ] {
        assert!(!logged.contains(secret), "{secret} was logged");
    }
    for file in std::fs::read_dir(shop.folder.path()).expect("a folder") {
        let bytes = std::fs::read(file.expect("readable").path()).expect("reads");
        for secret in [PASSWORD, &token, proof.expose()] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} stands in a file");
        }
    }
}

#[tokio::test]
async fn without_the_session_store_carts_say_so_and_orders_go_on() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    registered(&shop, &ada()).await;
    let token = token(&sign_in(&shop, "ada@example.com", PASSWORD).send().await.expect_status(201));
    shop.sessions.close().await;
    for call in [
        shop.post("/v1/carts", &json!({})).header("orderworks-session", &token),
        shop.get("/v1/carts/cart_0190a0b4-4242-7424-8242-424242424242"),
    ] {
        let answer = call.send().await.expect_problem(503, "temporarily_unavailable");
        assert_eq!(answer.header("retry-after"), "2");
        assert!(answer.json["detail"].as_str().is_some_and(|text| text.contains("carts")), "{}", answer.text);
    }
    shop.order("k1").await;
}

#[tokio::test]
async fn common_and_short_passwords_are_not_taken() {
    let shop = TestApi::open().await;
    for (password, fault) in [
        ("fourteen chars", "/password wrong_length"),
        ("passwordpassword", "/password too_common"),
        ("ada@example.com ADA", "/password too_common"),
        ("Lovelace Lovelace", "/password too_common"),
    ] {
        let body = json!({"email": "ada@example.com", "name": "Ada Lovelace", "password": password});
        let answer = register(&shop, &body).send().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.faults(), [fault], "{password}");
        assert!(!answer.text.contains(password));
    }
    let body = json!({"email": "ada@example.com", "name": "Ada", "password": "other other other other"});
    let call = register(&shop, &body).key(&shop.other.public);
    let answer = call.send().await.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), ["/password too_common"], "the shop's name");
    register(&shop, &body).send().await.expect_status(202);
    // Sign-in accepts passwords shorter than a new one may be.
    sign_in(&shop, "ada@example.com", "short").send().await.expect_problem(401, "wrong_credentials");
}

#[tokio::test]
async fn format_characters_and_local_domains_are_refused() {
    let shop = TestApi::open().await;
    for name in
        ["Ada \u{202e}lecaveloL", "Ada\u{200b}Lovelace", "Ada\u{2066}", "Ada\u{2028}Lovelace", "\u{e0041}Ada"]
    {
        let body = json!({"email": "ada@example.com", "name": name, "password": PASSWORD});
        let answer = register(&shop, &body).send().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.faults(), ["/name format_character"]);
    }
    for email in ["a@localhost", "a@com", "a\u{200b}da@example.com"] {
        let body = json!({"email": email, "name": "Ada", "password": PASSWORD});
        let answer = register(&shop, &body).send().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.faults(), ["/email wrong_format"]);
    }
    // Persian names need the zero-width non-joiner.
    let body = json!({"email": "ada@example.com", "name": "\u{639}\u{644}\u{6cc}\u{200c}\u{631}\u{636}\u{627}", "password": PASSWORD});
    register(&shop, &body).send().await.expect_status(202);
}
