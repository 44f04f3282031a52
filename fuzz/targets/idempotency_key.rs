//! `api::fuzzing::idempotency_key` over bytes of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| api::fuzzing::idempotency_key(bytes));
