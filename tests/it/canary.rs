//! Secrets of a whole flow, each marked: none of them is in the log, at any log level, and the stores that need no
//! customer data hold none.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    customers::token_of,
    util::{Dev, Receiver},
};

const PASSWORD: &str = "lantern-mosaic-harbour-7";
const WRONG_PASSWORD: &str = "lantern-mosaic-other-8";
const EMAIL: &str = "canary.mailbox@example.com";
const NAME: &str = "Canaria Fullname";
const STREET: &str = "12 Canarystreet";
const CARD: &str = "4000056655665556";
const KEY: &str = "canary-idempotency-key";
const URL_TOKEN: &str = "canary-url-token";
const METHOD: &str = "pm_card_visa";

/// Registers a customer, signs in, orders, receives mails and webhooks; returns all secrets of the flow.
async fn flow(dev: &Dev, receiver: &Receiver) -> Vec<String> {
    let (merchant, storefront) = (dev.merchant(), dev.storefront());
    let url = format!("{}?token={URL_TOKEN}", receiver.url);
    let endpoint = json!({"url": url, "events": ["*"]});
    let (status, endpoint) = merchant.send(Method::POST, "/v1/webhook_endpoints", Some(&endpoint)).await;
    assert_eq!(status, StatusCode::CREATED, "{endpoint}");

    let account = json!({"email": EMAIL, "name": NAME, "password": PASSWORD});
    let (status, answer) = storefront.send(Method::POST, "/v1/customers", Some(&account)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let proof = token_of(&dev.ready.mail_folder).await;
    let account = json!({"token": proof, "password": PASSWORD});
    let (status, answer) = storefront.send(Method::POST, "/v1/customers/verify", Some(&account)).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    for (password, expected) in [(WRONG_PASSWORD, StatusCode::UNAUTHORIZED), (PASSWORD, StatusCode::CREATED)]
    {
        let body = json!({"email": EMAIL, "password": password});
        let (status, answer) = storefront.send(Method::POST, "/v1/sessions", Some(&body)).await;
        assert_eq!(status, expected, "{answer}");
    }
    let body = json!({"email": EMAIL, "password": PASSWORD});
    let (_, session) = storefront.send(Method::POST, "/v1/sessions", Some(&body)).await;
    let token = session["token"].as_str().expect("a token").to_owned();
    let headers = [("orderworks-session", token.as_str())];
    let (status, cart) = storefront.send_with(Method::POST, "/v1/carts", &headers, Some(&json!({}))).await;
    assert_eq!(status, StatusCode::CREATED, "{cart}");

    let mut order = json!({
        "customer": {"email": EMAIL, "name": NAME}, "currency": "EUR", "payment_method": METHOD,
        "items": [{"sku": "CUP-ENAMEL", "quantity": 1}],
        "shipping_address": {"name": NAME, "line1": STREET, "city": "Y", "postal_code": "Z", "country": "DE"},
    });
    let (status, placed) = storefront.place(KEY, &order).await.expect("answers");
    assert_eq!(status, StatusCode::ACCEPTED, "{placed}");
    let ended = merchant.ended(placed["id"].as_str().expect("an id")).await;
    assert_eq!(ended["status"], "fulfilled", "{ended}");
    order["customer"]["name"] = json!(CARD);
    let (status, answer) = storefront.place("k2", &order).await.expect("answers");
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    receiver.until(|taken| taken.len() >= 4).await;

    let ready = &dev.ready;
    let secret = endpoint["secret"].as_str().expect("a secret").to_owned();
    vec![
        ready.secret_key.clone(),
        ready.publishable_key.clone(),
        ready.provider_key.clone(),
        secret.trim_start_matches("whsec_").to_owned(),
        token,
        proof,
    ]
}

#[tokio::test]
async fn no_secret_of_a_whole_flow_is_logged_or_kept_where_it_is_not_needed() {
    let data = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let dev = Dev::start_with(data.path(), &[("ORDERWORKS_LOG_FILTER", "trace")]).await;
    let secrets = flow(&dev, &receiver).await;
    assert!(dev.stop().await.success());
    let read = |name: &str| std::fs::read(data.path().join(name)).unwrap_or_default();
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());

    let log = read("log");
    assert!(holds(&log, "TRACE") && holds(&log, "/v1/orders"), "everything is logged");
    let marked = [PASSWORD, WRONG_PASSWORD, EMAIL, NAME, STREET, CARD, KEY, URL_TOKEN, METHOD, "$argon2id"];
    for text in marked.into_iter().chain(secrets.iter().map(String::as_str)) {
        assert!(!holds(&log, text), "{text} was logged");
    }
    for store in ["queue.db", "payments.db", "provider.db", "sessions.db"] {
        assert!(!read(store).is_empty(), "{store} is there");
        for name in [store.to_owned(), format!("{store}-wal")] {
            let bytes = read(&name);
            for text in [PASSWORD, WRONG_PASSWORD, EMAIL, NAME, STREET, CARD, &*secrets[4], &*secrets[5]] {
                assert!(!holds(&bytes, text), "{text} stands in {name}");
            }
        }
    }
}
