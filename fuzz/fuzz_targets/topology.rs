//! See `integration_tests::fuzz::texts::topology`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::texts::topology(bytes));
