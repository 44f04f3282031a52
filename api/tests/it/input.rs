//! Rejected bodies of orders: all faults at once, and nothing written. Text that looks like statements stays text.

use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use crate::util::{TestApi, order_body};

/// The valid order with the value at a pointer replaced.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = order_body();
    *body.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is in the order")) = value;
    body
}

#[tokio::test]
async fn each_rule_names_its_field() {
    let shop = TestApi::open().await;
    shop.stock("mug", 100_000).await;
    let before = shop.traces().await;
    let too_many: Vec<_> = (0..101).map(|n| json!({"sku": format!("s{n}"), "quantity": 1})).collect();
    let cases = [
        ("/customer/email", json!("no mail"), "wrong_format"),
        ("/customer/email", json!("Ada <ada@example.com>"), "wrong_format"),
        ("/customer/email", json!("ada@example.com\r\nbcc: x@example.com"), "wrong_format"),
        ("/customer/email", json!("ada@-b.example"), "wrong_format"),
        ("/customer/email", json!("ada@127.0.0.1"), "wrong_format"),
        ("/customer/email", json!(format!("ada@{}.example", "\u{fc}".repeat(62))), "wrong_format"),
        ("/customer/email", json!(7), "wrong_type"),
        ("/customer/email", Value::Null, "required"),
        ("/customer/name", json!(""), "wrong_length"),
        ("/customer/name", json!("   "), "wrong_length"),
        ("/customer/name", json!("x".repeat(201)), "wrong_length"),
        ("/customer/name", json!("a\nb"), "control_character"),
        ("/customer/name", json!("You won! claim at https://evil.example/claim now"), "holds_link"),
        ("/customer", json!([]), "wrong_type"),
        ("/currency", json!("eur"), "wrong_format"),
        ("/currency", json!("EURO"), "wrong_format"),
        ("/items", json!([]), "wrong_length"),
        ("/items", json!(too_many), "wrong_length"),
        ("/items", json!({}), "wrong_type"),
        ("/items/0", json!("mug"), "wrong_type"),
        ("/items/0/sku", json!("no sku"), "wrong_format"),
        ("/items/0/sku", json!(""), "wrong_format"),
        ("/items/0/sku", json!("s".repeat(65)), "wrong_format"),
        ("/items/0/quantity", json!(0), "out_of_range"),
        ("/items/0/quantity", json!(-1), "out_of_range"),
        ("/items/0/quantity", json!(10_001), "out_of_range"),
        ("/items/0/quantity", json!(1_000_000_000_000_i64), "out_of_range"),
        ("/items/0/quantity", json!(1.5), "out_of_range"),
        ("/items/0/quantity", json!("2"), "wrong_type"),
        ("/payment_method", json!("card_visa"), "wrong_format"),
        ("/payment_method", json!("pm_"), "wrong_format"),
        ("/payment_method", json!("pm_a-b"), "wrong_format"),
        ("/shipping_address/country", json!("XX"), "wrong_format"),
        ("/shipping_address/country", json!("gb"), "wrong_format"),
        ("/shipping_address/city", Value::Null, "required"),
        ("/shipping_address/name", json!("www.evil.agency"), "holds_link"),
        ("/shipping_address/line1", json!("evil.com"), "holds_link"),
        ("/shipping_address/city", json!("evil.example/claim"), "holds_link"),
        ("/shipping_address/postal_code", json!("bit.ly/x"), "holds_link"),
        ("/reference", json!("ask ada@evil.net"), "holds_link"),
        ("/reference", json!(""), "wrong_length"),
        ("/reference", json!("r".repeat(101)), "wrong_length"),
    ];
    for (pointer, value, code) in cases {
        let body = with(pointer, value.clone());
        let answer = shop.place("k", &body).send().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.faults(), [format!("{pointer} {code}")], "{value}");
    }
    for whole in [json!([]), json!("x"), Value::Null, json!(1)] {
        let answer = shop.place("k", &whole).send().await.expect_problem(422, "validation_failed");
        assert_eq!(answer.faults(), [" wrong_type"]);
    }
    assert_eq!(shop.traces().await, before);
}

/// The welcome mail greets with the name, and anyone may register anyone's address.
#[tokio::test]
async fn a_registration_mails_no_links_of_strangers() {
    let shop = TestApi::open().await;
    let mut body = json!({"email": "ada@example.com", "password": "canary correct horse"});
    for (name, is_accepted) in [("Prize: evil.com", false), ("Dr. J.R.R. Lovelace", true)] {
        body["name"] = json!(name);
        let answer = crate::customers::register(&shop, &body).send().await;
        if is_accepted {
            answer.expect_status(202);
        } else {
            assert_eq!(answer.expect_problem(422, "validation_failed").faults(), ["/name holds_link"]);
        }
    }
}

/// JSON has one kind of number.
#[tokio::test]
async fn a_whole_number_may_be_written_with_a_fraction_of_zero() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let body = with("/items/0/quantity", json!(2.0));
    let answer = shop.place("k", &body).send().await.expect_status(202);
    assert_eq!(answer.json["items"][0]["quantity"], 2);
    // It is the same request, too.
    for (text, status) in [
        ("2", 202),
        ("2e0", 202),
        ("20E-1", 202),
        ("3.0", 422),
        ("-0", 422),
        ("-0.0", 422),
        ("0.2e400", 400),
        ("1e300", 422),
        ("1.5", 422),
        ("9223372036854775808", 422),
        ("18446744073709551616", 422),
        ("-9223372036854775809", 422),
    ] {
        let body = order_body().to_string().replace("\"quantity\":2", &format!("\"quantity\":{text}"));
        let call = shop.call(reqwest::Method::POST, "/v1/orders").key(&shop.own.public);
        let again = call.header("idempotency-key", "k").body(body).send().await.expect_status(status);
        assert_eq!(again.header("idempotent-replayed") == "true", status == 202, "{text}: {}", again.text);
    }
}

#[tokio::test]
async fn all_faults_are_told_at_once() {
    let shop = TestApi::open().await;
    let body = json!({
        "customer": {"email": "x", "name": 3, "vip": true},
        "items": [{"sku": "a", "quantity": 0}, {"quantity": 1, "price_minor": 1}],
        "payment_method": "cash",
        "shipping_address": {"name": "n", "line1": "l", "city": "c", "postal_code": "p", "country": "Mars"},
        "total_minor": 1,
        "a/b~c": 1,
    });
    let answer = shop.place("k", &body).send().await.expect_problem(422, "validation_failed");
    assert_eq!(
        answer.faults(),
        [
            "/a~1b~0c unknown_field",
            "/currency required",
            "/customer/email wrong_format",
            "/customer/name wrong_type",
            "/customer/vip unknown_field",
            "/items/0/quantity out_of_range",
            "/items/1/price_minor unknown_field",
            "/items/1/sku required",
            "/payment_method wrong_format",
            "/shipping_address/country wrong_format",
            "/total_minor unknown_field",
        ]
    );
}

#[tokio::test]
async fn items_of_one_sku_are_added_up() {
    let shop = TestApi::open().await;
    shop.stock("mug", 30_000).await;
    shop.stock("cup", 5).await;
    let item = |sku: &str, quantity: u32| json!({"sku": sku, "quantity": quantity});
    let body = with("/items", json!([item("mug", 2), item("cup", 1), item("mug", 3)]));
    let order = shop.place("k1", &body).send().await.expect_status(202).json;
    let items = order["items"].as_array().expect("items");
    assert_eq!((items.len(), order["total_minor"].as_i64()), (2, Some(1500)));
    assert_eq!((items[0]["quantity"].as_i64(), items[0]["total_minor"].as_i64()), (Some(5), Some(1250)));
    let body = with("/items", json!([item("mug", 10_000), item("mug", 1)]));
    let answer = shop.place("k2", &body).send().await.expect_problem(422, "validation_failed");
    assert_eq!(answer.faults(), ["/items/1/quantity out_of_range"]);
    // Rejections of the store name the item that the client sent, not the merged line.
    let body = with("/items", json!([item("mug", 1), item("mug", 1), item("cup", 9)]));
    let answer = shop.place("k3", &body).send().await.expect_problem(409, "out_of_stock");
    assert_eq!(answer.faults(), ["/items/2/quantity out_of_stock"]);
}

#[tokio::test]
async fn the_store_s_refusals_name_their_lines() {
    let shop = TestApi::open().await;
    shop.stock("mug", 1).await;
    shop.stock("cup", 1).await;
    let dear =
        json!({"name": "Yacht", "category": "boats", "price_minor": 999_999_999_999_i64, "currency": "EUR"});
    shop.put("/v1/products/yacht", &dear).send().await.expect_status(201);
    shop.put("/v1/inventory/yacht", &json!({"on_hand": 9})).send().await.expect_status(200);
    let before = shop.traces().await;
    let items = |pairs: &[(&str, u32)]| {
        let items: Vec<_> = pairs.iter().map(|(sku, n)| json!({"sku": sku, "quantity": n})).collect();
        with("/items", json!(items))
    };
    let answer = shop.place("k", &items(&[("cup", 3), ("mug", 2)])).send().await;
    let faults = answer.expect_problem(409, "out_of_stock").faults();
    assert_eq!(faults, ["/items/0/quantity out_of_stock", "/items/1/quantity out_of_stock"]);
    let answer = shop.place("k", &items(&[("mug", 1), ("none", 1)])).send().await;
    assert_eq!(answer.expect_problem(422, "unknown_sku").faults(), ["/items/1/sku unknown_sku"]);
    let mut body = items(&[("mug", 1)]);
    body["currency"] = json!("USD");
    let answer = shop.place("k", &body).send().await.expect_problem(422, "wrong_currency");
    assert_eq!(answer.faults(), ["/items/0/sku wrong_currency"]);
    let answer = shop.place("k", &items(&[("yacht", 2)])).send().await;
    assert_eq!(answer.expect_problem(422, "total_too_large").faults(), ["/items total_too_large"]);
    assert_eq!(shop.traces().await, before);
}

#[tokio::test]
async fn card_numbers_are_refused_wherever_they_stand() {
    let shop = TestApi::open().await;
    shop.stock("mug", 10).await;
    let before = shop.traces().await;
    let number = "4242 4242 4242 4242";
    let cases = [
        ("/customer/name", json!(format!("Ada {number}"))),
        ("/customer/email", json!("4242424242424242@example.com")),
        ("/payment_method", json!("pm_4242424242424242")),
        ("/reference", json!("4242-4242-4242-4242")),
        ("/shipping_address/line1", json!("5555555555554444")),
        ("/items/0/quantity", json!(4_242_424_242_424_242_i64)),
        ("/currency", json!({"deep": [1, "378282246310005"]})),
    ];
    for (pointer, value) in cases {
        let answer = shop.place("k", &with(pointer, value)).send().await;
        let answer = answer.expect_problem(422, "card_number_not_accepted");
        let named = answer.json["errors"][0]["pointer"].as_str().expect("a pointer").to_owned();
        assert!(named.starts_with(pointer), "{named}");
        let digits: String = answer.text.chars().filter(char::is_ascii_digit).collect();
        assert!(!digits.contains("42424242") && !digits.contains("55555555") && !digits.contains("378282"));
    }
    for unknown in [json!({"card": number}), json!({"4242424242424242": true})] {
        let mut body = order_body();
        body["metadata"] = unknown;
        let answer = shop.place("k", &body).send().await.expect_problem(422, "card_number_not_accepted");
        assert!(!answer.text.contains("4242"));
    }
    assert_eq!(shop.traces().await, before);
    // Barcodes as skus and timestamps as references are common in shops.
    shop.stock("4006381333931", 5).await;
    let mut body = with("/items/0/sku", json!("4006381333931"));
    body["reference"] = json!("order-1732412345678");
    shop.place("k", &body).send().await.expect_status(202);
}

/// SQL and patterns, wherever text is taken: it is stored, read and searched as the text that it is.
#[tokio::test]
async fn statements_in_text_stay_text() {
    let shop = TestApi::open().await;
    shop.stock("mug", 100).await;
    let texts =
        ["'; DROP TABLE orders; --", "\" OR \"\" = \"", "x') UNION SELECT * FROM api_keys --", "100%_\\ cup"];
    for (number, text) in texts.into_iter().enumerate() {
        let (sku, encoded) = (format!("cup-{number}"), byte_serialize(text.as_bytes()).collect::<String>());
        let product = json!({"name": text, "category": "cups", "price_minor": 250, "currency": "EUR"});
        let put = shop.put(&format!("/v1/products/{sku}"), &product).send().await.expect_status(201);
        assert_eq!(put.json["name"], text);
        let found = shop.get(&format!("/v1/products?q={encoded}")).send().await.expect_status(200);
        assert!(found.list().iter().any(|product| product["sku"] == *sku), "{text}: {}", found.text);

        let mut body = with("/reference", json!(text));
        body["customer"]["name"] = json!(text);
        let order = shop.place(&format!("k{number}"), &body).send().await.expect_status(202).json;
        let path = format!("/v1/orders/{}", order["id"].as_str().expect("an id"));
        let read = shop.get(&path).send().await.expect_status(200).json;
        assert_eq!((&read["reference"], &read["customer"]["name"]), (&json!(text), &json!(text)));

        for list in ["products?category", "orders?status", "orders?starting_after"] {
            let answer = shop.get(&format!("/v1/{list}={encoded}")).send().await;
            let is_none = answer.status == 422 || answer.status == 200 && answer.list().is_empty();
            assert!(is_none, "{list}: {text}: {}", answer.text);
        }
        let path = encoded.replace('+', "%20");
        for thing in ["products", "orders", "carts"] {
            shop.get(&format!("/v1/{thing}/{path}")).send().await.expect_problem(404, "not_found");
        }
    }
    assert_eq!(shop.traces().await.0, 4);
}
