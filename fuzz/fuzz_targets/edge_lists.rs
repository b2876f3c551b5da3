//! See `integration_tests::fuzz::edges::edge_lists`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| integration_tests::fuzz::edges::edge_lists(bytes));
