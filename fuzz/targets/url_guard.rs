//! The check `url_guard` over bytes of libFuzzer.
#![no_main]

#[path = "../checks/url_guard.rs"]
mod url_guard;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| url_guard::check(bytes));
