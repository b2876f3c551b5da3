//! See `integration_tests::fuzz::tokens::cookies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::tokens::cookies(bytes));
