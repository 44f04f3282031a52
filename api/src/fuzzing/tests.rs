//! The checks over the corpus of the fuzz targets.

use super::*;

#[path = "../../../fuzz/checks/corpus.rs"]
mod corpus;

#[test]
fn bodies_of_orders() {
    corpus::each("order_body", order_body);
}

#[test]
fn idempotency_keys() {
    corpus::each("idempotency_key", idempotency_key);
}

#[test]
fn cursors() {
    corpus::each("cursor", cursor);
}

#[test]
fn signature_headers() {
    corpus::each("signature_header", signature_header);
}
