//! The checks over the corpus of the fuzz targets, and over inputs that are drawn.

use hmac::{Hmac, KeyInit, Mac};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;
use sha2::Sha256;
use url::form_urlencoded::byte_serialize;

use super::*;

#[path = "../../../fuzz/checks/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/checks/drawn.rs"]
mod drawn;
#[path = "../../../fuzz/checks/drawn_json.rs"]
mod drawn_json;

const ORDER: &str = include_str!("../../../fuzz/corpus/order_body/valid");
/// Parts of [`ORDER`].
const POINTERS: [&str; 12] = [
    "",
    "/customer",
    "/customer/email",
    "/customer/name",
    "/currency",
    "/items",
    "/items/0",
    "/items/0/quantity",
    "/payment_method",
    "/expected_total_minor",
    "/shipping_address/country",
    "/reference",
];
const NAMES: [&str; 6] = ["customer", "email", "items", "sku", "quantity", "~1"];
const TEXTS: [&str; 6] = ["EUR", "GB", "mug", "pm_card_visa", "ada@example.com", "4242 4242 4242 4242"];

#[test]
fn bodies_of_orders() {
    corpus::each("order_body", order_body);
}

#[test]
fn drawn_bodies_of_orders() {
    let values = drawn_json::values(&NAMES, &TEXTS);
    let changed = (select(POINTERS.to_vec()), values).prop_map(|(pointer, value)| {
        let mut order: Value = serde_json::from_str(ORDER).expect("JSON");
        *order.pointer_mut(pointer).expect("is a part of it") = value;
        order
    });
    drawn::each(&changed, |body| order_body(body.to_string().as_bytes()));
}

#[test]
fn idempotency_keys() {
    corpus::each("idempotency_key", idempotency_key);
}

/// A key is the same bare and quoted, whatever characters it has.
#[test]
fn drawn_idempotency_keys() {
    let read = |text: &str| {
        let value = HeaderValue::from_str(text).expect("a header value");
        let name = http::HeaderName::from_static("idempotency-key");
        input::idempotency_key(&HeaderMap::from_iter([(name, value)])).ok().flatten()
    };
    drawn::each(&"[!-~]{1,255}", |key| {
        let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
        assert_eq!(read(&quoted).as_ref(), Some(&key));
        assert!(key.starts_with('"') || read(&key).as_ref() == Some(&key), "{key}");
    });
    drawn::each(&"[\" -~]{0,300}", |text| idempotency_key(text.as_bytes()));
}

#[test]
fn cursors() {
    corpus::each("cursor", cursor);
}

#[test]
fn drawn_cursors() {
    let texts = prop_oneof![
        ".{0,300}",
        any::<u64>().prop_map(|number| number.to_string()),
        (any::<i64>(), "[A-Za-z0-9_.:-]{0,64}").prop_map(|(price, sku)| format!("{price}:{sku}")),
    ];
    let names = select(["limit", "starting_after", "sort", "currency", ""].to_vec());
    let pair = (names, texts).prop_map(|(name, text)| {
        let encoded: String = byte_serialize(text.as_bytes()).collect();
        format!("{name}={encoded}")
    });
    let queries = prop_oneof![vec(pair, 0..4).prop_map(|pairs| pairs.join("&")), "[ -~]{0,120}"];
    drawn::each(&queries, |query| cursor(query.as_bytes()));
}

#[test]
fn signature_headers() {
    corpus::each("signature_header", signature_header);
}

/// What was signed is taken; nothing else is, under the same header.
#[test]
fn drawn_signatures() {
    let now = Timestamp::from_second(SIGNED_AT).expect("a time");
    drawn::each(&("[!-~]{1,80}", vec(any::<u8>(), 1..200), any::<usize>()), |(secret, body, at)| {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
        let mac = mac.chain_update(format!("{SIGNED_AT}.")).chain_update(&body);
        let header = format!("t={SIGNED_AT},v1={}", hex::encode(mac.finalize().into_bytes()));
        let is_taken = |secret: &str, body: &[u8]| {
            provider_webhooks::is_signed(&[SecretString::from(secret.to_owned())], &header, body, now)
        };
        let mut changed = body.clone();
        changed[at % body.len()] ^= 1 << (at % 8);
        assert!(is_taken(&secret, &body));
        assert!(!is_taken(&secret, &changed) && !is_taken(&secret, &body[1..]));
        assert!(!is_taken(&format!("{secret}x"), &body));
    });
    let parts =
        prop_oneof!["t=-?[0-9]{0,20}", "v1=[0-9a-fA-F]{62,66}", "v0=[0-9a-f]{4}", "[ -~]{0,12}", "v1=.{0,9}"];
    let headers = (vec(parts, 0..6).prop_map(|parts| parts.join(",")), ".{0,20}");
    drawn::each(&headers, |(header, body)| signature_header(format!("{header}\n{body}").as_bytes()));
}
