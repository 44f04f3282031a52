//! Cases of what passwords and names may be, and where they must not be found.

use super::*;

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
    for name in ["Ada\u{200b}Lovelace", "Ada\u{2066}", "Ada\u{2069}", "Ada\u{2028}Lovelace", "\u{e0041}Ada"] {
        let body = json!({"email": "ada@example.com", "name": name, "password": PASSWORD});
        let answer = register(&shop, &body).send().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.faults(), ["/name format_character"]);
    }
    for email in ["a@localhost", "a@com", "a\u{200b}da@example.com"] {
        let body = json!({"email": email, "name": "Ada", "password": PASSWORD});
        let answer = register(&shop, &body).send().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.faults(), ["/email wrong_format"]);
    }
    let body = json!({"email": "ada@example.com", "name": "\u{200f} \u{200d}", "password": PASSWORD});
    let answer = register(&shop, &body).send().await.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), ["/name wrong_length"], "it shows nothing");
}

#[tokio::test]
async fn names_keep_the_marks_and_joiners_of_their_script() {
    let shop = TestApi::open().await;
    let names = [
        "\u{639}\u{644}\u{6cc}\u{200c}\u{631}\u{636}\u{627}",
        "\u{1f469}\u{200d}\u{1f467}",
        "\u{5d3}\u{5d5}\u{5d3} (Dan)\u{200f}",
        "\u{202b}Ada\u{202c}",
        "\u{202e}lecaveloL",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let email = format!("ada{number}@example.com");
        let customer = registered(&shop, &json!({"email": email, "name": name, "password": PASSWORD})).await;
        assert_eq!(customer.json["name"], name);
    }
}
