//! `api::fuzzing::signature_header` over bytes of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| api::fuzzing::signature_header(bytes));
