//! See `integration_tests::fuzz::edges::list_queries`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::edges::list_queries(bytes));
