//! Customer flow through the real binary: registration, sign-in, a cart, a restart, the cart's order.

use std::path::Path;

use futures::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::util::{Client, Dev, PATIENCE, alone, resident_kib, run, run_json, verify};

const SESSION: &str = "orderworks-session";

async fn expect(client: &Client, method: Method, path: &str, headers: &[(&str, &str)], body: Value) -> Value {
    let (status, answer) = client.send_with(method, path, headers, Some(&body)).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().expect("text")
}

/// Polls for the mail, as its arrival is not announced.
async fn mailed(folder: &Path, name: &str) -> String {
    let looking = async {
        loop {
            if let Ok(mail) = std::fs::read_to_string(folder.join(name)) {
                return mail;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the mail is sent in time")
}

/// The token in the only mail that verifies an address.
pub(crate) async fn token_of(folder: &Path) -> String {
    let looking = async {
        loop {
            let names =
                std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
            let mut names = names.map(|name| name.to_string_lossy().into_owned());
            if let Some(name) =
                names.find(|name| name.starts_with("ver_") && name.ends_with(".verify_address.eml"))
            {
                return name;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let name = tokio::time::timeout(PATIENCE, looking).await.expect("the mail is sent in time");
    let mail = mailed(folder, &name).await.replace("=\r\n", "");
    let at = mail.find("owv_").expect("a token");
    mail[at..at + 47].to_owned()
}

/// Registers a customer of the demo shop and signs in; returns the token of the session.
pub(crate) async fn signed_in(dev: &Dev, email: &str, password: &str) -> String {
    let shop = dev.storefront();
    let ada = json!({ "email": email, "name": "Ada Lovelace", "password": password });
    expect(&shop, Method::POST, "/v1/customers", &[], ada).await;
    let proven = json!({ "token": token_of(&dev.ready.mail_folder).await, "password": password });
    expect(&shop, Method::POST, "/v1/customers/verify", &[], proven).await;
    let credentials = json!({ "email": email, "password": password });
    let session = expect(&shop, Method::POST, "/v1/sessions", &[], credentials).await;
    text(&session, "token").to_owned()
}

#[tokio::test]
async fn a_customers_cart_and_session_survive_restarts_and_become_one_order() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let shop = dev.storefront();
    let ada =
        json!({ "email": "ada@example.com", "name": "Ada Lovelace", "password": "canary correct horse" });
    let asked =
        expect(&shop, Method::POST, "/v1/customers", &[("idempotency-key", "ada")], ada.clone()).await;
    assert_eq!(asked["status"], "verification_sent");
    let proof = token_of(&dev.ready.mail_folder).await;
    let verify = json!({ "token": proof, "password": "canary correct horse" });
    let customer = expect(&shop, Method::POST, "/v1/customers/verify", &[], verify).await;
    let welcome = format!("{}.welcome.eml", text(&customer, "id"));
    assert!(mailed(&dev.ready.mail_folder, &welcome).await.contains("ada@example.com"));
    let credentials = json!({ "email": "ada@example.com", "password": "canary correct horse" });
    let session = expect(&shop, Method::POST, "/v1/sessions", &[], credentials).await;
    let token = text(&session, "token").to_owned();
    let signed_in = [(SESSION, token.as_str())];
    let cart = expect(&shop, Method::POST, "/v1/carts", &signed_in, json!({})).await;
    let cart = format!("/v1/carts/{}", text(&cart, "id"));
    let item = |sku: &str| format!("{cart}/items/{sku}");
    expect(&shop, Method::PUT, &item("CUP-ENAMEL"), &signed_in, json!({ "quantity": 2 })).await;

    // Killed, not stopped: everything that was answered is stored.
    dev.kill().await;
    let dev = Dev::start(data.path()).await;
    let shop = dev.storefront();
    let (status, found) = shop.send_with(Method::GET, &cart, &signed_in, None).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    assert_eq!((&found["total_minor"], &found["customer"]), (&json!(2_500), &customer["id"]));
    expect(&shop, Method::PUT, &item("PEN-BRASS"), &signed_in, json!({ "quantity": 1 })).await;
    let pay = json!({ "payment_method": "pm_card_visa" });
    let checkout = format!("{cart}/checkout");
    let keyed = [(SESSION, token.as_str()), ("idempotency-key", "checkout")];
    let order = expect(&shop, Method::POST, &checkout, &keyed, pay.clone()).await;
    assert_eq!(
        (&order["total_minor"], &order["customer"]["email"]),
        (&json!(7_400), &json!("ada@example.com"))
    );
    let id = text(&order, "id").to_owned();
    let ended = shop.ended(&id).await;
    assert_eq!(ended["status"], "fulfilled", "{ended}");
    mailed(&dev.ready.mail_folder, &format!("{id}.order_confirmation.eml")).await;

    assert!(dev.stop().await.success());
    let dev = Dev::start(data.path()).await;
    let (shop, merchant) = (dev.storefront(), dev.merchant());
    assert_eq!(expect(&shop, Method::POST, &checkout, &keyed, pay).await, order, "the answer of then");
    assert_eq!(merchant.all("/v1/orders").await.len(), 1);
    let events = merchant.all("/v1/events").await;
    assert_eq!(events.iter().filter(|event| event["type"] == "customer.registered").count(), 1);
    let (status, _) = shop.send_with(Method::DELETE, "/v1/sessions/current", &signed_in, None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, problem) = shop.send_with(Method::POST, "/v1/carts", &signed_in, None).await;
    assert_eq!((status, text(&problem, "code")), (StatusCode::UNAUTHORIZED, "session_invalid"));
    assert!(dev.stop().await.success());
    let mails = std::fs::read_dir(data.path().join("mail")).expect("a mail folder").count();
    assert_eq!(mails, 3, "a token, a welcome and a confirmation");
    let log = std::fs::read_to_string(data.path().join("log")).expect("a log");
    for secret in ["canary correct horse", &token, &proof, "argon2id"] {
        assert!(!log.contains(secret), "{secret} was logged");
    }
}

#[tokio::test]
async fn an_operator_exports_and_erases_a_customer() {
    let data = tempfile::tempdir().expect("a folder");
    let dev = Dev::start(data.path()).await;
    let shop = dev.storefront();
    let ada =
        json!({ "email": "ada@example.com", "name": "Ada Lovelace", "password": "canary correct horse" });
    expect(&shop, Method::POST, "/v1/customers", &[], ada).await;
    let proof = token_of(&dev.ready.mail_folder).await;
    let proven = json!({ "token": proof, "password": "canary correct horse" });
    let customer = expect(&shop, Method::POST, "/v1/customers/verify", &[], proven).await;
    let (id, credentials) =
        (text(&customer, "id"), json!({ "email": "ada@example.com", "password": "canary correct horse" }));
    let session = expect(&shop, Method::POST, "/v1/sessions", &[], credentials).await;
    let order = json!({
        "customer": { "email": "ada@example.com", "name": "Ada Lovelace" }, "currency": "EUR",
        "items": [{ "sku": "CUP-ENAMEL", "quantity": 1 }], "payment_method": "pm_card_visa",
    });
    let keyed = [(SESSION, text(&session, "token")), ("idempotency-key", "one")];
    let placed = expect(&shop, Method::POST, "/v1/orders", &keyed, order).await;
    let order = text(&placed, "id").to_owned();
    assert_eq!(shop.ended(&order).await["status"], "fulfilled");
    mailed(&dev.ready.mail_folder, &format!("{order}.order_confirmation.eml")).await;

    let exported = run_json(data.path(), &["control", "customer", "export", id]).await;
    assert_eq!(exported["account"]["email"], "ada@example.com");
    assert_eq!(exported["orders"][0]["order"]["id"], order);
    assert_eq!(exported["orders"][0]["order"]["customer"]["name"], "Ada Lovelace");
    let erase = ["control", "customer", "erase", id, "--note", "ticket 17"];
    let (ok, _, error) = run(data.path(), &erase).await;
    assert!(!ok && error.contains("--yes") && error.contains("1 orders"), "{error}");
    let erased = run_json(data.path(), &[&erase[..], &["--yes"]].concat()).await;
    assert_eq!((&erased["result"], &erased["orders"]), (&json!("erased"), &json!(1)));

    let merchant = dev.merchant();
    let (status, kept) = merchant.send(Method::GET, &format!("/v1/orders/{order}"), None).await;
    assert_eq!(status, StatusCode::OK, "{kept}");
    assert_eq!((&kept["customer"], &kept["total_minor"]), (&json!(null), &placed["total_minor"]));
    let (ok, _, error) = run(data.path(), &["control", "customer", "export", id]).await;
    assert!(!ok && error.contains("--merchant"), "{error}");
    let merchant_id = text(&exported, "merchant");
    let left = run_json(data.path(), &["control", "customer", "export", id, "--merchant", merchant_id]).await;
    assert_eq!((&left["account"], &left["erasure"]["requested_by"]), (&json!(null), &json!("ticket 17")));
    assert!(!left.to_string().contains("ada@example.com"), "{left}");
    let (status, violations, _) = verify(data.path(), &[], &[]).await;
    assert_eq!((status, violations.len()), (Some(0), 0), "{violations:?}");
    assert!(dev.stop().await.success());
}

/// `ops/bench sign_in` runs the same ten thousand times on the release build.
#[tokio::test]
async fn sign_ins_keep_no_memory() {
    const GROWTH_KIB_MAX: u64 = 20 * 1024;
    // Sign-ins that wait some seconds for a hash are rejected, so no other test may compete.
    let _turn = alone().await;
    let data = tempfile::tempdir().expect("a folder");
    let plenty = ["PER_IP_PER_MINUTE", "PER_ACCOUNT_PER_MINUTE", "BURST"]
        .map(|key| format!("ORDERWORKS_SIGN_IN_{key}"));
    let settings: Vec<_> = plenty.iter().map(|name| (name.as_str(), "1000000")).collect();
    let dev = Dev::start_with(data.path(), &settings).await;
    let shop = dev.storefront();
    // Without an account the work is the same.
    let body = json!({ "email": "nobody@example.com", "password": "canary correct horse" });
    let sign_in = async |times: usize| {
        let all = (0..times).map(|_| shop.send(Method::POST, "/v1/sessions", Some(&body)));
        let answers: Vec<_> = stream::iter(all).buffer_unordered(4).collect().await;
        for (status, answer) in answers {
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
        }
    };
    sign_in(100).await;
    let before = resident_kib(dev.process());
    sign_in(300).await;
    let growth = resident_kib(dev.process()).saturating_sub(before);
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB more than before");
    assert!(dev.stop().await.success());
}
