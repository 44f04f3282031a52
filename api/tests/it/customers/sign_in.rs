//! Cases of sign-in: sessions, and how often a password may be tried.

use super::*;

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
async fn attempts_of_others_lock_no_customer_out_and_successes_do_not_count() {
    let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    let config = api::ApiConfig { trusted_proxies, ..limited(1_000_000, 1) };
    let shop = TestApi::open_with(config, ServerLimits::default()).await;
    registered(&shop, &ada()).await;
    let from = |address: &str, password: &str| {
        sign_in(&shop, "ada@example.com", password).header("x-forwarded-for", address).send()
    };
    for n in 0..16 {
        from(&format!("198.51.100.{}", n % 4), "another pass of words").await;
    }
    from("198.51.100.1", PASSWORD).await.expect_problem(429, "rate_limited");
    for _ in 0..6 {
        from("203.0.113.7", PASSWORD).await.expect_status(201);
    }
    // One address has one count, however it is written.
    for address in ["2001:db8::1", "2001:DB8:0::2", "2001:db8:0:0:3::1"] {
        from(address, "another pass of words").await.expect_problem(401, "wrong_credentials");
    }
    from("2001:db8::4", PASSWORD).await.expect_problem(429, "rate_limited");
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
