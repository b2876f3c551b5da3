//! See `integration_tests::fuzz::fields::fields`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::fields::fields(bytes));
