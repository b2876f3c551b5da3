//! See `integration_tests::fuzz::tokens::sessions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::tokens::sessions(bytes));
