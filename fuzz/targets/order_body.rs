//! `api::fuzzing::order_body` over bytes of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| api::fuzzing::order_body(bytes));
